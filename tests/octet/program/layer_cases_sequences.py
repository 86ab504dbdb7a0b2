"""Layers over sequences: recurrent ones, their cells, attention, transformers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from layer_forms import Call, Layers
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


def recurrent() -> Layers:
    forms = {
        "without_bias": {"bias": False},
        "deep_both_ways": {"num_layers": 2, "bidirectional": True, "dropout": 0.2},
    }
    kinds: dict[str, Callable[..., nn.Module]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
    layers: Layers = {
        f"{name}_{form}": kind(8, 6, batch_first=True, **options)
        for name, kind in kinds.items()
        for form, options in forms.items()
    }
    for name, kind in kinds.items():
        layers[f"{name}_unbatched"] = Call(lambda x, layer: layer(x[0]), kind(8, 6))
        layers[f"{name}_time_first"] = Call(lambda x, layer: layer(x.transpose(0, 1)), kind(8, 6))
    state = partial(_state, 6)
    return {
        **layers,
        "rnn_relu": nn.RNN(8, 6, nonlinearity="relu", batch_first=True),
        "lstm_projected": nn.LSTM(8, 6, 2, proj_size=3, bidirectional=True, bias=False, batch_first=True),
        "rnn_from_a_state": Call(lambda x, layer: layer(x, state(x)), nn.RNN(8, 6, batch_first=True)),
        "gru_from_a_state": Call(lambda x, layer: layer(x, state(x)), nn.GRU(8, 6, batch_first=True)),
        "lstm_from_a_state": Call(lambda x, layer: layer(x, (state(x), state(x) + 1)), nn.LSTM(8, 6, batch_first=True)),
        "lstm_from_zeros": Call(
            lambda x, layer: layer(x, (torch.zeros(1, x.size(0), 6), x.new_zeros(1, x.size(0), 6))),
            nn.LSTM(8, 6, batch_first=True),
        ),
        **{f"{name}_with_computed_weights": Call(partial(_operator, name)) for name in ("rnn_tanh", "rnn_relu", "gru")},
        "lstm_with_computed_weights": Call(partial(_operator, "lstm")),
    }


def _state(size: int, x: Tensor) -> Tensor:
    return x.mean(1)[None, :, :size].contiguous()


def _operator(name: str, x: Tensor) -> object:
    rows = {"lstm": 32, "gru": 24}.get(name, 8)
    weight = x[0, 0].repeat(rows, 1)
    start = x.mean(1)[None]
    state = [start, start] if name == "lstm" else start
    return getattr(torch.ops.aten, name)(x, state, [weight, weight], False, 1, 0.0, False, False, True)


def cells() -> Layers:
    def over_time(x: Tensor, cell: nn.Module) -> Tensor:
        state, seen = None, []
        for step in range(3):
            state = cell(x[:, step], state)
            seen.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(seen, 1)

    def once(name: str, rows: int, x: Tensor) -> object:
        weight, start = x[0, 0].repeat(rows, 1), x[:, 1]
        state = [start, start] if name == "lstm_cell" else start
        return getattr(torch.ops.aten, name)(x[:, 0], state, weight, weight)

    return {
        "rnn": Call(over_time, nn.RNNCell(8, 6)),
        "rnn_relu": Call(over_time, nn.RNNCell(8, 6, nonlinearity="relu")),
        "lstm": Call(over_time, nn.LSTMCell(8, 6)),
        "gru": Call(over_time, nn.GRUCell(8, 6, bias=False)),
        "lstm_from_a_state": Call(lambda x, cell: cell(x[:, 0], (x[:, 1, :6], x[:, 2, :6])), nn.LSTMCell(8, 6)),
        "lstm_unbatched": Call(lambda x, cell: cell(x[0, 0]), nn.LSTMCell(8, 6)),
        "gru_unbatched": Call(lambda x, cell: cell(x[0, 0]), nn.GRUCell(8, 6)),
        "with_computed_weights": Call(
            lambda x: [
                once(name, rows, x)
                for name, rows in (("lstm_cell", 32), ("gru_cell", 24), ("rnn_tanh_cell", 8), ("rnn_relu_cell", 8))
            ]
        ),
    }


def attention() -> Layers:
    def heads(x: Tensor) -> Tensor:
        return x.reshape(x.size(0), 5, 2, 4).transpose(1, 2)

    def dot(x: Tensor, **options: Any) -> Tensor:
        return F.scaled_dot_product_attention(heads(x), heads(x), heads(x), **options)

    def multi_head(**options: Any) -> nn.Module:
        return nn.MultiheadAttention(8, 2, batch_first=True, **options)

    causal = nn.Transformer.generate_square_subsequent_mask(5)
    return {
        "dot": Call(dot),
        "dot_causal": Call(partial(dot, is_causal=True)),
        "dot_scaled": Call(partial(dot, scale=0.3)),
        "dot_masked": Call(partial(dot, attn_mask=torch.ones(5, 5).tril().bool())),
        "dot_biased": Call(partial(dot, attn_mask=causal)),
        "dot_grouped": Call(
            lambda x: F.scaled_dot_product_attention(heads(x), heads(x)[:, :1], heads(x)[:, :1], enable_gqa=True)
        ),
        "dot_of_three_dimensions": Call(lambda x: F.scaled_dot_product_attention(x, x, x)),
        "plain": Call(lambda x, layer: layer(x, x, x), multi_head()),
        "without_weights": Call(lambda x, layer: layer(x, x, x, need_weights=False)[0], multi_head()),
        "with_each_weight": Call(lambda x, layer: layer(x, x, x, average_attn_weights=False), multi_head()),
        "time_first": Call(lambda x, layer: layer(*(x.transpose(0, 1),) * 3), nn.MultiheadAttention(8, 2)),
        "without_bias": Call(lambda x, layer: layer(x, x, x), multi_head(bias=False)),
        "with_bias_in_keys": Call(lambda x, layer: layer(x, x, x), multi_head(add_bias_kv=True)),
        "with_zeros_in_keys": Call(lambda x, layer: layer(x, x, x), multi_head(add_zero_attn=True)),
        "of_other_sizes": Call(lambda x, layer: layer(x, x[..., :4], x[..., :3]), multi_head(kdim=4, vdim=3)),
        "across": Call(lambda x, layer: layer(x[:, :2], x, x), multi_head()),
        "masked": Call(lambda x, layer: layer(x, x, x, attn_mask=causal, need_weights=False), multi_head()),
        "causal": Call(
            lambda x, layer: layer(x, x, x, attn_mask=causal, is_causal=True, need_weights=False), multi_head()
        ),
        "with_padding": Call(lambda x, layer: layer(x, x, x, key_padding_mask=x[..., 0] > 9), multi_head()),
        "unbatched": Call(lambda x, layer: layer(x[0], x[0], x[0]), multi_head()),
    }


def transformers() -> Layers:
    def encoder(**options: Any) -> Any:
        return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)

    decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    return {
        "encoder_layer": encoder(),
        "encoder_norm_first": encoder(norm_first=True, activation="gelu"),
        "encoder_without_bias": encoder(bias=False),
        "encoder_time_first": Call(lambda x, layer: layer(x.transpose(0, 1)), nn.TransformerEncoderLayer(8, 2, 16)),
        "encoder_causal": Call(
            lambda x, layer: layer(x, mask=causal, is_causal=True),
            nn.TransformerEncoder(encoder(), 1, nn.LayerNorm(8), enable_nested_tensor=False),
        ),
        "encoder_with_padding": Call(
            lambda x, layer: layer(x, src_key_padding_mask=x[..., 0] > 9),
            nn.TransformerEncoder(encoder(), 1, enable_nested_tensor=False),
        ),
        "decoder": Call(
            lambda x, layer: layer(x, x[:, :3], tgt_mask=causal, tgt_is_causal=True), nn.TransformerDecoder(decoder, 1)
        ),
        "whole": Call(lambda x, layer: layer(x, x[:, :3]), nn.Transformer(8, 2, 1, 1, 16, batch_first=True)),
    }

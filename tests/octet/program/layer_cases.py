"""Every layer and layer function of `torch.nn`, in all its forms: per family, branches that read the same input."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

Layers = dict[str, nn.Module]


class Call(nn.Module):
    """A function of the input and of modules that it calls."""

    def __init__(self, call: Callable[..., object], *parts: nn.Module) -> None:
        super().__init__()
        self.call = call
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> object:
        return self.call(x, *self.parts)


class Branches(nn.Module):
    """What each layer makes of the same input, by the layer's name."""

    def __init__(self, layers: Layers, stem: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> dict[str, object]:
        x = self.stem(x)
        return {name: layer(x) for name, layer in self.layers.items()}


def signal() -> Tensor:
    return torch.randn(2, 4, 12)


def image() -> Tensor:
    return torch.randn(2, 4, 6, 6)


def volume() -> Tensor:
    return torch.randn(2, 4, 4, 6, 6)


def table() -> Tensor:
    return torch.randn(2, 8)


def sequence() -> Tensor:
    return torch.randn(2, 5, 8)


def ids() -> Tensor:
    return torch.randint(0, 20, (2, 5))


SPATIAL = {1: signal, 2: image, 3: volume}


def _of(kind: str, dims: int) -> Callable[..., Any]:
    return getattr(nn, f"{kind}{dims}d")


def convolutions(dims: int) -> Layers:
    conv, transposed = _of("Conv", dims), _of("ConvTranspose", dims)
    function, back = getattr(F, f"conv{dims}d"), getattr(F, f"conv_transpose{dims}d")
    window = (slice(0, 1), slice(None), *(slice(0, 2),) * dims)
    return {
        "plain": conv(4, 6, 3),
        "without_bias": conv(4, 6, 3, bias=False),
        "strided": conv(4, 6, 3, stride=2, padding=1),
        "dilated": conv(4, 6, 2, dilation=2, padding=1),
        "grouped": conv(4, 8, 3, groups=2),
        "depthwise": conv(4, 4, 3, groups=4),
        "same": conv(4, 6, 3, padding="same"),
        "same_of_an_even_window": conv(4, 6, 2, padding="same", dilation=3),
        "valid": conv(4, 6, 3, padding="valid"),
        **{mode: conv(4, 6, 3, padding=1, padding_mode=mode) for mode in ("reflect", "replicate", "circular")},
        "circular_same": conv(4, 6, 3, padding="same", padding_mode="circular"),
        "unbatched": Call(lambda x, layer: layer(x[0]), conv(4, 6, 3)),
        "with_a_computed_weight": Call(lambda x: function(x, x[window], padding="same")),
        "transposed": transposed(4, 6, 3),
        "transposed_strided": transposed(4, 6, 3, stride=2, padding=1, output_padding=1),
        "transposed_grouped": transposed(4, 6, 3, groups=2, bias=False),
        "transposed_dilated": transposed(4, 6, 2, dilation=2),
        "transposed_to_a_size": Call(
            lambda x, layer: layer(x, output_size=[2 * size for size in x.shape[2:]]), transposed(4, 6, 3, 2, 1)
        ),
        "transposed_unbatched": Call(lambda x, layer: layer(x[0]), transposed(4, 6, 3)),
        "transposed_with_a_computed_weight": Call(lambda x: back(x, x[0].unsqueeze(1))),
    }


def linears() -> Layers:
    return {
        "linear": nn.Linear(8, 4),
        "without_bias": nn.Linear(8, 4, bias=False),
        "of_a_vector": Call(lambda x, layer: layer(x[0, 0]), nn.Linear(8, 4)),
        "with_a_computed_weight": Call(lambda x: F.linear(x, x[0])),
        "with_a_vector_for_weight": Call(lambda x: F.linear(x, torch.arange(8.0))),
        "bilinear": Call(lambda x, layer: layer(x, x[..., :3]), nn.Bilinear(8, 3, 4)),
        "bilinear_without_bias": Call(lambda x, layer: layer(x, x), nn.Bilinear(8, 8, 4, bias=False)),
        "bilinear_with_a_computed_weight": Call(lambda x: F.bilinear(x, x, x[0, 0].expand(3, 8, 8))),
        "identity": nn.Sequential(nn.Identity(), nn.Linear(8, 4)),
        "weight_norm": nn.utils.parametrizations.weight_norm(nn.Linear(8, 4)),
        "spectral_norm": nn.utils.parametrizations.spectral_norm(nn.Linear(8, 4)),
    }


def norms(dims: int) -> Layers:
    batch, instance = _of("BatchNorm", dims), _of("InstanceNorm", dims)
    last = (12,) if dims == 1 else (6, 6)
    return {
        "batch": batch(4),
        "batch_without_affine": batch(4, affine=False),
        "batch_without_statistics": batch(4, track_running_stats=False),
        "batch_with_nothing": batch(4, affine=False, track_running_stats=False),
        "batch_without_momentum": batch(4, momentum=None),
        "synchronized": nn.SyncBatchNorm(4),
        "instance": instance(4),
        "instance_affine": instance(4, affine=True),
        "instance_with_statistics": instance(4, affine=True, track_running_stats=True),
        "instance_unbatched": Call(lambda x, layer: layer(x[0]), instance(4)),
        "group": nn.GroupNorm(2, 4),
        "group_without_affine": nn.GroupNorm(2, 4, affine=False),
        "layer": nn.LayerNorm(last),
        "rms": nn.RMSNorm(last),
        "local_response": nn.LocalResponseNorm(3),
    }


def norms_of_rows() -> Layers:
    mean, variance = torch.zeros(8), torch.ones(8)
    return {
        "batch": nn.BatchNorm1d(8),
        "batch_with_computed_statistics": Call(lambda x: F.batch_norm(x, x[0], x[1].abs(), x[0], x[1])),
        "batch_with_a_bias_only": Call(lambda x: F.batch_norm(x, mean, variance, bias=variance)),
        "group": nn.GroupNorm(2, 8),
        "group_with_computed_weights": Call(lambda x: F.group_norm(x, 2, x[0], x[1])),
        "instance_with_computed_weights": Call(lambda x: F.instance_norm(x[:, None], weight=x[0, :1], bias=x[1, :1])),
        "layer": nn.LayerNorm(8),
        "layer_without_bias": nn.LayerNorm(8, bias=False),
        "layer_without_affine": nn.LayerNorm(8, elementwise_affine=False),
        "layer_with_computed_weights": Call(lambda x: F.layer_norm(x, (8,), x[0], x[1])),
        "rms": nn.RMSNorm(8, eps=1e-5),
        "rms_without_affine": nn.RMSNorm(8, elementwise_affine=False),
        "rms_with_a_computed_weight": Call(lambda x: F.rms_norm(x, (8,), x[0])),
        "normalize": Call(lambda x: F.normalize(x, dim=1)),
        "normalize_by_the_largest": Call(lambda x: F.normalize(x, p=float("inf"))),
    }


def embeddings() -> Layers:
    def offsets(x: Tensor, more: int = 0) -> Tensor:
        return torch.arange(0, x.numel() + more, 5)

    bag = nn.EmbeddingBag
    return {
        "plain": nn.Embedding(20, 6),
        "padded": nn.Embedding(20, 6, padding_idx=0),
        "with_greatest_norm": nn.Embedding(20, 6, max_norm=0.5),
        "with_a_computed_weight": Call(lambda x: F.embedding(x, torch.ones(20, 3) * x[0, 0])),
        "bag_mean": bag(20, 6),
        "bag_sum": bag(20, 6, mode="sum", padding_idx=1),
        "bag_max": bag(20, 6, mode="max"),
        "bag_weighted": Call(lambda x, layer: layer(x, per_sample_weights=x.float()), bag(20, 6, mode="sum")),
        "bag_with_offsets": Call(lambda x, layer: layer(x.flatten(), offsets(x)), bag(20, 6)),
        "bag_with_last_offset": Call(
            lambda x, layer: layer(x.flatten(), offsets(x, 1)), bag(20, 6, include_last_offset=True)
        ),
        "bag_with_greatest_norm": bag(20, 6, max_norm=1.0),
        "bag_with_a_computed_weight": Call(lambda x: F.embedding_bag(x, torch.ones(20, 3) * x[0, 0], mode="sum")),
        "bag_of_the_operator": Call(lambda x: torch.ops.aten.embedding_bag(torch.eye(20), x.flatten(), offsets(x))[0]),
        "one_hot": Call(lambda x: F.one_hot(x, 20)),
    }


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


_ACTIVATIONS = (
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "Mish",
    "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh",
    "Tanhshrink", "Softmax2d", "Dropout", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout",
)  # fmt: skip
_IN_PLACE = ("relu", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "hardswish", "rrelu")


def activations() -> Layers:
    return {
        **{name.lower(): getattr(nn, name)() for name in _ACTIVATIONS},
        "hardtanh_of_whole_numbers": nn.Hardtanh(-2, 2),
        "softplus_of_whole_numbers": nn.Softplus(2, 10),
        "elu_of_a_whole_number": nn.ELU(2),
        "gelu_by_tanh": nn.GELU(approximate="tanh"),
        "threshold": nn.Threshold(0.1, 20.0),
        "softmax": nn.Softmax(dim=1),
        "softmax_in_double": Call(lambda x: F.softmax(x, 1, dtype=torch.float64)),
        "softmax_special": Call(lambda x: torch.special.softmax(x, 1) + torch.special.log_softmax(x, 1)),
        "softmin": nn.Softmin(dim=1),
        "log_softmax": nn.LogSoftmax(dim=-1),
        "glu": nn.GLU(1),
        "prelu_per_channel": nn.PReLU(4),
        "prelu_of_a_number": Call(lambda x: F.prelu(x, torch.tensor(0.3))),
        "prelu_with_a_computed_weight": Call(lambda x: F.prelu(x, x[0, :, 0, 0])),
        "dropout1d": Call(lambda x, layer: layer(x.flatten(2)), nn.Dropout1d()),
        **{
            f"{kind.__name__}_in_place": Call(lambda x, layer: layer(x * 2), kind(inplace=True))
            for kind in (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
        },
        "dropout3d": Call(lambda x, layer: layer(x.unsqueeze(2)), nn.Dropout3d()),
        "dropout_of_features": Call(lambda x: torch.feature_dropout(x[None, None], 0.5, train=False)),
        **{f"{name}_in_place": Call(partial(_in_place, name)) for name in _IN_PLACE},
    }


def _in_place(name: str, x: Tensor) -> Tensor:
    return getattr(F, name)(x + 1, inplace=True)


def pooling(dims: int) -> Layers:
    top, mean = _of("MaxPool", dims), _of("AvgPool", dims)
    most, average = _of("AdaptiveMaxPool", dims), _of("AdaptiveAvgPool", dims)
    with_indices, back = top(2, return_indices=True), _of("MaxUnpool", dims)(2)
    return {
        "max": top(2),
        "max_strided": top(3, stride=2, padding=1),
        "max_rounded_up": top(4, stride=3, ceil_mode=True),
        "max_dilated": top(2, dilation=2),
        "max_with_indices": with_indices,
        "max_unpooled": Call(lambda x, pool, unpool: unpool(*pool(x)), with_indices, back),
        "max_unpooled_to_a_size": Call(
            lambda x, pool, unpool: unpool(*pool(x), output_size=x.shape), with_indices, back
        ),
        "mean": mean(2),
        "mean_strided": mean(3, stride=2, padding=1),
        "mean_rounded_up": mean(4, stride=3, ceil_mode=True),
        "mean_without_padding": mean(3, stride=2, padding=1, count_include_pad=False),
        "adaptive_mean": average(2),
        "adaptive_max": most(2),
        "adaptive_max_with_indices": most(2, return_indices=True),
        "power": Call(lambda x, layer: layer(x.abs()), _of("LPPool", dims)(3, 2, ceil_mode=True)),
        "unbatched": Call(lambda x, *layers: [layer(x[0]) for layer in layers], top(2), mean(2), average(2)),
        **{
            f"padded_{name.lower()}": _of(name, dims)(1)
            for name in ("ReflectionPad", "ReplicationPad", "ZeroPad", "CircularPad")
        },
        "padded_with_a_value": _of("ConstantPad", dims)(2, 2.5),
        "cropped": _of("ConstantPad", dims)(-1, 2.5),
        "padded_by_the_operator": Call(
            lambda x: (
                getattr(torch.ops.aten, f"reflection_pad{dims}d")(x, [1, 2] * dims),
                getattr(torch.ops.aten, f"replication_pad{dims}d")(x, [1, 2] * dims),
                torch.ops.aten.constant_pad_nd(x, [1, 1], 0.5),
            )
        ),
    }


def pooling_of_images() -> Layers:
    def fractional(x: Tensor) -> Tensor:
        return F.fractional_max_pool2d(x, 2, output_size=3, _random_samples=x.new_full((x.size(0), 4, 2), 0.3))

    return {
        "fractional": Call(fractional),
        "adaptive_along_one_axis": nn.AdaptiveAvgPool2d((None, 3)),
        "mean_with_a_divisor": nn.AvgPool2d(2, divisor_override=3),
        "mean_of_an_oblong": nn.AvgPool2d((2, 3), (1, 2), (1, 0)),
        "adaptive_mean_of_the_operator": Call(
            lambda x: (
                torch.ops.aten._adaptive_avg_pool2d(x, [2, 2]),  # noqa: SLF001 - as graphs have it
                torch.ops.aten._adaptive_avg_pool3d(x, [2, 2, 2]),  # noqa: SLF001
            )
        ),
    }


_MODES = {
    1: ("nearest", "nearest-exact", "area", "linear"),
    2: ("nearest", "nearest-exact", "area", "bilinear", "bicubic"),
    3: ("nearest", "nearest-exact", "area", "trilinear"),
}


def resizing(dims: int) -> Layers:
    layers: Layers = {}
    for mode in _MODES[dims]:
        name = mode.replace("-", "_")
        layers[f"{name}_to_a_size"] = nn.Upsample(size=(8,) * dims, mode=mode)
        layers[f"{name}_by_a_factor"] = nn.Upsample(scale_factor=1.5, mode=mode)
        layers[f"{name}_by_the_factor_of_the_sizes"] = nn.Upsample(
            scale_factor=1.5, mode=mode, recompute_scale_factor=True
        )
        if mode.endswith(("linear", "cubic")):
            layers[f"{name}_aligned"] = nn.Upsample(scale_factor=2, mode=mode, align_corners=True)
        if mode != "area":
            layers[f"{name}_of_the_operator"] = Call(partial(_upsample, mode, dims))
    return layers


def _upsample(mode: str, dims: int, x: Tensor) -> Tensor:
    name = "_upsample_nearest_exact" if mode == "nearest-exact" else f"upsample_{mode}"
    corners = () if "nearest" in mode else (False,)
    return getattr(torch.ops.aten, f"{name}{dims}d")(x, [8] * dims, *corners)


def resampling() -> Layers:
    def grid(x: Tensor) -> Tensor:
        return x[:, :2].permute(0, 2, 3, 1)

    return {
        "smoothed": Call(lambda x: F.interpolate(x, size=(3, 3), mode="bilinear", antialias=True)),
        "smoothed_bicubic": Call(lambda x: F.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True)),
        "smoothed_by_the_operator": Call(
            lambda x: (
                torch.ops.aten._upsample_bilinear2d_aa(x, [3, 3], False)  # noqa: SLF001 - as graphs have it
                + torch.ops.aten._upsample_bicubic2d_aa(x, [3, 3], False)  # noqa: SLF001
            )
        ),
        "nearest": nn.UpsamplingNearest2d(scale_factor=2),
        "bilinear": nn.UpsamplingBilinear2d(scale_factor=2),
        "oblong": Call(lambda x: F.interpolate(x, scale_factor=(2.0, 1.5))),
        "to_a_computed_size": Call(lambda x: F.interpolate(x, size=(x.shape[2] * 2, x.shape[3] + x.shape[0]))),
        "on_a_grid": Call(lambda x: F.grid_sample(x, grid(x), align_corners=False)),
        "on_a_grid_nearest": Call(
            lambda x: F.grid_sample(x, grid(x), mode="nearest", padding_mode="border", align_corners=True)
        ),
        "on_a_grid_in_a_volume": Call(
            lambda x: F.grid_sample(
                x.unsqueeze(2), x[:, :3].permute(0, 2, 3, 1).unsqueeze(1), mode="bilinear", align_corners=False
            )
        ),
        "on_an_affine_grid": Call(
            lambda x: F.grid_sample(
                x, F.affine_grid(x[:, 0, :2, :3], list(x.shape), align_corners=False), align_corners=False
            )
        ),
        "pixels_into_places": nn.PixelShuffle(2),
        "pixels_into_channels": nn.PixelUnshuffle(2),
        "channels_shuffled": nn.ChannelShuffle(2),
        "unfolded": nn.Unfold((2, 3), dilation=1, padding=1, stride=2),
        "folded": nn.Sequential(nn.Unfold(3, padding=1, stride=2), nn.Fold((6, 6), 3, padding=1, stride=2)),
        "flattened": nn.Flatten(),
        "unflattened": nn.Unflatten(1, (2, 2)),
        "padded_around": Call(lambda x: F.pad(x, (1, 1, 2, 0), mode="circular")),
        "padded_to_a_multiple": Call(lambda x: F.pad(x, (0, -x.shape[-1] % 4))),
        "padded_truth": Call(lambda x: F.pad(x > 0, (1, 1), value=True)),
    }


_LOSSES = ("l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "hinge_embedding_loss", "kl_div")


def losses() -> Layers:
    def label(x: Tensor) -> Tensor:
        return x.argmax(1) % 4

    def sign(x: Tensor) -> Tensor:
        return (x > 0).float()

    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "cross_entropy": lambda x: F.cross_entropy(x, label(x)),
        "cross_entropy_smoothed": lambda x: F.cross_entropy(x, label(x), label_smoothing=0.1, reduction="none"),
        "cross_entropy_of_odds": lambda x: F.cross_entropy(x, x.softmax(1)),
        "nll": lambda x: F.nll_loss(F.log_softmax(x, 1), label(x), reduction="none"),
        "binary": lambda x: F.binary_cross_entropy(x.sigmoid(), sign(x)),
        "binary_of_logits": lambda x: F.binary_cross_entropy_with_logits(x, sign(x), pos_weight=torch.arange(8.0)),
        "poisson": lambda x: F.poisson_nll_loss(x, x.abs() * 3, full=True),
        "multi_margin": lambda x: F.multi_margin_loss(x, label(x)),
        "multi_label_margin": lambda x: F.multilabel_margin_loss(x, torch.zeros_like(x).long()),
        "multi_label_soft_margin": lambda x: F.multilabel_soft_margin_loss(x, sign(x)),
        "margin_ranking": lambda x: F.margin_ranking_loss(x, x * 2, torch.ones_like(x)),
        "triplet": lambda x: F.triplet_margin_loss(x, x + 1, x - 2, swap=True),
        "triplet_with_a_distance": lambda x: F.triplet_margin_with_distance_loss(x, x + 1, x - 2),
        "cosine_embedding": lambda x: F.cosine_embedding_loss(x, x + 1, x.new_ones(x.shape[0])),
    }
    return {
        **{name: Call(partial(_loss, name)) for name in _LOSSES},
        **{name: Call(function) for name, function in functions.items()},
        "cosine": Call(lambda x, layer: layer(x, x + 1), nn.CosineSimilarity(eps=1e-4)),
        "pairwise": Call(lambda x, layer: layer(x, x * 2), nn.PairwiseDistance(p=1, keepdim=True)),
        "distances": Call(lambda x: torch.cdist(x, x * 2, p=1)),
        "adaptive_softmax": Call(
            lambda x, layer: layer.log_prob(x), nn.AdaptiveLogSoftmaxWithLoss(8, 10, [2, 6], div_value=2.0)
        ),
    }


def _loss(name: str, x: Tensor) -> Tensor:
    return getattr(F, name)(x, x.sigmoid() * 2, reduction="sum")


def _stem(dims: int) -> nn.Module:
    return _of("Conv", dims)(4, 4, 1)


# name -> the layers, what comes before them, an input of two samples.
FAMILIES: dict[str, tuple[Callable[[], Layers], Callable[[], nn.Module], Callable[[], Tensor]]] = {
    **{
        f"{make.__name__} {dims}d": (partial(make, dims), partial(_stem, dims), SPATIAL[dims])
        for make in (convolutions, norms, pooling, resizing)
        for dims in SPATIAL
    },
    "linears": (linears, partial(nn.Linear, 8, 8), sequence),
    "norms of rows": (norms_of_rows, partial(nn.Linear, 8, 8), table),
    "embeddings": (embeddings, nn.Identity, ids),
    "recurrent": (recurrent, partial(nn.Linear, 8, 8), sequence),
    "cells": (cells, partial(nn.Linear, 8, 8), sequence),
    "attention": (attention, partial(nn.Linear, 8, 8), sequence),
    "transformers": (transformers, partial(nn.Linear, 8, 8), sequence),
    "activations": (activations, partial(_stem, 2), image),
    "pooling of images": (pooling_of_images, partial(_stem, 2), image),
    "resampling": (resampling, partial(_stem, 2), image),
    "losses": (losses, partial(nn.Linear, 8, 8), table),
}

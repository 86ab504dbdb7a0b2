"""Static LSTMs: torch's own of the eager mode, between a rounding of what they are given and floats.

FX graph mode would ask for the initial state of each as inputs in int8. Its layers run step by step, which is slower
than a dynamic LSTM; their activations have fixed ranges, as an accelerator or a comparison may ask for.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.ao.nn import quantizable, quantized

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.ao.quantization import QConfig
    from torch.fx import GraphModule

    from octet.quantization.plan import Plan

State = tuple[Tensor, Tensor]


class ObservedLSTM(nn.Module):
    """An LSTM whose parts are observed, and what it is given."""

    def __init__(self, layer: nn.LSTM, qconfig: QConfig) -> None:
        super().__init__()
        plain = copy.deepcopy(layer).eval()
        plain.dropout = 0.0  # which torch's warns of, and which does nothing in eval mode
        plain.qconfig = qconfig
        self.layer = quantizable.LSTM.from_float(plain)  # type: ignore[no-untyped-call]
        self.source = [layer]  # not a part of this module: it is not observed
        self.inputs, self.hidden, self.cell = (qconfig.activation() for _ in range(3))

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What the LSTM gives, in floats."""
        state = None if state is None else (self.hidden(state[0]), self.cell(state[1]))
        given: tuple[Tensor, State] = self.layer(self.inputs(x), state)
        return given

    def to_float(self) -> nn.LSTM:
        """The LSTM that it is made of."""
        return self.source[0]


class StaticLSTM(nn.Module):
    """An LSTM of int8 kernels that takes and gives floats, of one layer and one direction."""

    def __init__(self, observed: ObservedLSTM) -> None:
        super().__init__()
        self.layer = quantized.LSTM.from_observed(observed.layer)
        self.inputs_scale, self.inputs_zero_point = _figures(observed.inputs)
        self.hidden_scale, self.hidden_zero_point = _figures(observed.hidden)
        self.cell_scale, self.cell_zero_point = _figures(observed.cell)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """`x` and the initial state are rounded; the outputs and the last state are floats."""
        inputs = torch.quantize_per_tensor(x, self.inputs_scale, self.inputs_zero_point, torch.quint8)
        rounded: State | None = None
        if state is not None:
            rounded = (
                torch.quantize_per_tensor(state[0], self.hidden_scale, self.hidden_zero_point, torch.quint8),
                torch.quantize_per_tensor(state[1], self.cell_scale, self.cell_zero_point, torch.quint8),
            )
        outputs, (hidden, cell) = self.layer(inputs, rounded)
        return outputs.dequantize(), (hidden.dequantize(), cell.dequantize())

    def get_weight(self) -> dict[str, Tensor]:
        """The weights in int8, by their names in `nn.LSTM`."""
        (layer,) = cast("Any", self.layer.layers)
        cell = layer.layer_fw.cell
        return {"weight_ih_l0": cell.igates.weight(), "weight_hh_l0": cell.hgates.weight()}


def _figures(observer: Any) -> tuple[float, int]:
    """The scale and zero point of an observer; what was never given, as an initial state, has a range of 1."""
    scale, zero_point = observer.calculate_qparams()
    return float(scale), int(zero_point)


def observe_lstms(observed: GraphModule, plan: Plan, qconfig: QConfig) -> None:
    """Puts observed LSTMs in the place of those that `plan` wants static."""
    for path, layer in plan.layers.items():
        if layer.module_type is nn.LSTM and layer.method == "static":
            observed.set_submodule(path, ObservedLSTM(observed.get_submodule(path), qconfig))  # type: ignore[arg-type]


def swap_lstms(module: GraphModule, made: Callable[[ObservedLSTM], nn.Module]) -> None:
    """Puts what is made of each observed LSTM in its place. FX takes away observers that it did not put there."""
    for path, layer in list(module.named_modules()):
        if isinstance(layer, ObservedLSTM):
            module.set_submodule(path, made(layer))

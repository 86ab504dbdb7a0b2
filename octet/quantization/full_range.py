"""Dynamic layers that use all eight bits, for CPUs on which FBGEMM's sums do not overflow.

torch keeps the input of each to seven, whatever the CPU. Single recurrent cells have no switch for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.ao.nn.intrinsic.quantized.dynamic import LinearReLU
from torch.ao.nn.quantized.dynamic import GRU, LSTM, Linear

if TYPE_CHECKING:
    from torch.fx import GraphModule


class FullRangeLinear(Linear):
    """torch's dynamic int8 linear layer, with 8-bit inputs."""

    @classmethod
    def of(cls, layer: Any) -> nn.Module:
        """What does the same as `layer`, with finer steps."""
        own = cls(layer.in_features, layer.out_features)
        own.set_weight_bias(layer.weight(), layer.bias())
        return own

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features], both float32."""
        packed = self._packed_params._packed_params  # noqa: SLF001 - torch's own
        y: Tensor = torch.ops.quantized.linear_dynamic(x, packed, reduce_range=False)
        return y


class FullRangeLinearReLU(FullRangeLinear):
    """The same with a ReLU behind it."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features], both float32."""
        packed = self._packed_params._packed_params  # noqa: SLF001 - torch's own
        y: Tensor = torch.ops.quantized.linear_relu_dynamic(x, packed, reduce_range=False)
        return y


def _recurrent(layer: Any) -> nn.Module:
    """`layer` with its packed weights, each in a cell that takes 8 bits."""
    for weight in layer._all_weight_values:  # noqa: SLF001 - torch's own
        (_, biases, _, _, packed), _ = weight.param.__getstate__()
        weight.param = torch.ops.quantized.make_quantized_cell_params_dynamic(*packed, *biases, False)
    module: nn.Module = layer
    return module


_FORMS: dict[type, Any] = {
    Linear: FullRangeLinear.of,
    LinearReLU: FullRangeLinearReLU.of,
    GRU: _recurrent,
    LSTM: _recurrent,
}


def use_all_bits(int8: GraphModule) -> None:
    """Lets every dynamic layer of `int8` use them."""
    for path in {str(node.target) for node in int8.graph.nodes if node.op == "call_module"}:
        layer = int8.get_submodule(path)
        if type(layer) in _FORMS:
            int8.set_submodule(path, _FORMS[type(layer)](layer))

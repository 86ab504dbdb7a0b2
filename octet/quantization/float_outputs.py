"""Linear layers that take floats and give floats, and multiply in int8.

FX graph mode gives every static layer an output in int8, even one that is turned back to float at once. Between float
calls, as in a transformer, that rounds twice as often as is needed, and takes three kernels where FBGEMM has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.ao.nn.intrinsic.quantized import LinearReLU
from torch.ao.nn.quantized import Linear
from torch.fx import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

ENGINES = frozenset({"fbgemm", "x86"})
"""Engines whose linear kernels can (torch 2.13, `qlinear.cpp`): x86 takes FBGEMM's."""


class FloatLinear(Linear):
    """torch's static int8 linear layer, between floats.

    Attributes:
        input_scale: Of the integers that the input is turned into.
        input_zero_point: Likewise.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)  # type: ignore[no-untyped-call]
        self.input_scale = 1.0
        self.input_zero_point = 0

    @classmethod
    def of(cls, layer: Any, scale: float, zero_point: int) -> Self:
        """What does the same as `layer` behind a quantization with this scale and zero point."""
        own = cls(layer.in_features, layer.out_features)
        own.set_weight_bias(layer.weight(), layer.bias())
        own.scale, own.zero_point = layer.scale, layer.zero_point
        own.input_scale, own.input_zero_point = scale, zero_point
        return own

    def rounded(self, x: Tensor) -> Tensor:
        """`x` as it comes back from the integers that the layer multiplies."""
        return torch.quantize_per_tensor(x, self.input_scale, self.input_zero_point, torch.quint8).dequantize()

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features], both float32."""
        packed = self._packed_params._packed_params  # noqa: SLF001 - torch's own
        y: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            x, self.input_scale, self.input_zero_point, packed
        )
        return y


class FloatLinearReLU(FloatLinear):
    """The same with a ReLU behind it."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features], both float32."""
        packed = self._packed_params._packed_params  # noqa: SLF001 - torch's own
        y: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_relu_output_fp32(
            x, self.input_scale, self.input_zero_point, packed
        )
        return y


_FORMS: dict[type, type[FloatLinear]] = {Linear: FloatLinear, LinearReLU: FloatLinearReLU}


def give_floats(int8: GraphModule) -> None:
    """Turns quantize, linear layer, dequantize into one kernel, wherever nothing else reads the layer's output."""
    for node in list(int8.graph.nodes):
        layer = int8.get_submodule(str(node.target)) if node.op == "call_module" else None
        form = _FORMS.get(type(layer))
        if form is None or not _between_floats(node):
            continue
        value, scale, zero_point = node.args[0].args[:3]
        int8.set_submodule(str(node.target), form.of(layer, _number(scale, int8), int(_number(zero_point, int8))))
        node.args = (value,)
        for user in list(node.users):
            user.replace_all_uses_with(node)
            int8.graph.erase_node(user)
    int8.graph.eliminate_dead_code()
    int8.recompile()


def _between_floats(node: Node) -> bool:
    source = node.args[0]
    return (
        isinstance(source, Node)
        and source.target is torch.quantize_per_tensor
        and bool(node.users)
        and all(user.target == "dequantize" for user in node.users)
    )


def _number(value: Any, int8: GraphModule) -> float:
    """A scale or a zero point: FX keeps them as buffers."""
    return float(int8.get_buffer(str(value.target)).item() if isinstance(value, Node) else value)

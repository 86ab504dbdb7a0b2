"""Multiply-adds of convolutions and linear layers: all of a float model's, and those that run in int8."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.fx import GraphModule, Node

aten = torch.ops.aten
_PRODUCTS = (aten.addmm.default, aten.mm.default)
_STATIC_HOMES = ("torch.ao.nn.quantized.modules", "torch.ao.nn.intrinsic.quantized.modules")


def of_convolution(inputs: Tensor, weight: torch.Size, output: Tensor, *, transposed: bool) -> int:
    """Each input value of a transposed convolution, and each output value of another one, meets a whole filter."""
    return (inputs if transposed else output).numel() * prod(weight[1:])


class FloatCount(TorchDispatchMode):
    """Counts what reaches torch's kernels, whatever the source calls it: it knows nothing of how Octet reads a model.

    Where torch computes one product (`addmm`, `mm`) it is a linear layer's. Batched ones (`bmm`) are mostly of two
    activations; they count where one side is a weight, as `einsum` computes it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.total = 0
        self._weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is aten.convolution.default:
            self.total += of_convolution(args[0], args[1].shape, result, transposed=args[6])
        elif function in _PRODUCTS or (function is aten.bmm.default and self._weighted(args)):
            self.total += result.numel() * args[-2].shape[-1]
        return result

    def _weighted(self, factors: tuple[Tensor, ...]) -> bool:
        return any(factor.untyped_storage().data_ptr() in self._weights for factor in factors)


class LayerCount(Interpreter):
    """Runs a converted graph and counts the convolutions and linear layers in it that take int8 values.

    Attributes:
        layers: How many calls of them there are.
        total: Their multiply-adds.
    """

    def __init__(self, converted: GraphModule) -> None:
        super().__init__(converted)
        self.extra_traceback = False
        self.layers = 0
        self.total = 0

    def count(self, inputs: Tensor, weight: torch.Size, output: Tensor, kind: str) -> None:
        """Adds a call of a layer; `kind` is what the toolkit calls it."""
        self.layers += 1
        self.total += (
            output.numel() * weight[1]
            if "linear" in kind.lower()
            else of_convolution(inputs, weight, output, transposed="transpose" in kind.lower())
        )

    @classmethod
    def of(cls, converted: GraphModule, inputs: tuple[Tensor, ...]) -> tuple[int, int]:
        """Int8 layers of `converted`, and their multiply-adds on `inputs`."""
        counted = cls(converted)
        with torch.no_grad():
            counted.run(*inputs)
        return counted.layers, counted.total


class Int8Count(LayerCount):
    """Of a graph that FX graph mode converted: its static layers."""

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        found = self._module(n) if n.op == "call_module" else self._function(n)
        if found is not None:
            self.count(self.env[n.all_input_nodes[0]], found[0], result, found[1])
        return result

    def _module(self, node: Node) -> tuple[torch.Size, str] | None:
        module = self.fetch_attr(str(node.target))
        # A toolkit may have a form of its own of torch's layer.
        kind = next(base for base in type(module).__mro__ if base.__module__.startswith(("torch.", "builtins")))
        multiplies = kind.__name__.startswith(("Linear", "Conv"))
        if not kind.__module__.startswith(_STATIC_HOMES) or not multiplies:
            return None
        return module.weight().shape, kind.__name__

    def _function(self, node: Node) -> tuple[torch.Size, str] | None:
        """`torch.ops.quantized.linear(x, packed, scale, zero_point)` and the like; the dynamic ones are not counted."""
        name = str(node.target)
        if (
            node.op != "call_function"
            or not name.startswith(("quantized.linear", "quantized.conv"))
            or "dynamic" in name
        ):
            return None
        packed = self.env[node.args[1]]
        return packed.unpack()[0].shape, name


def float_count(model: nn.Module, inputs: dict[str, Tensor]) -> int:
    """Convolution and linear multiply-adds of `model` on `inputs`."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would hide the linear layers in one kernel
    try:
        with torch.no_grad(), FloatCount(model) as count:
            model(**inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
    return count.total


class AnnotatedCount(LayerCount):
    """Of a graph that PT2E converted: they run in float, between dequantize and quantize, until they are compiled."""

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        name = str(n.target)
        if n.op == "call_function" and name.startswith(("aten.conv", "aten.linear")):
            inputs, weight = (self.env[argument] for argument in n.args[:2])
            if all("dequantize" in str(argument.target) for argument in n.args[:2]):
                self.count(inputs, weight.shape, result, name)
        return result

"""Runs an int8 graph to its end, whatever of it fails, so that one run finds all the kernels that are missing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter
from torch.utils._pytree import tree_leaves, tree_map_only

from octet.measure import Noise
from octet.quantization.converted import executed_method
from octet.quantization.float_outputs import FloatLinear
from octet.quantization.graph_mode import unit_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

    from octet.quantization.plan import Unit

LEAST_SQNR_DB = 10.0
"""What a layer's kernel has to reach against the layer itself on the same input, rounded alike. Kernels that work reach
30 and more, those that mix channels up or read beyond their weights stay below 5."""


class Rehearsal(Interpreter):
    """Runs an int8 graph and compares what its kernels give with what float layers with the same weights give.

    Where a layer or call fails, its float form takes its place and the run goes on.

    Attributes:
        found: What failed, with the reason.
    """

    extra_traceback = False

    def __init__(self, int8: GraphModule, rounded: GraphModule, reference: dict[Unit, Any]) -> None:
        super().__init__(int8)
        self.found: dict[Unit, str] = {}
        self._rounded = rounded
        self._reference = reference

    def run_node(self, n: Node) -> Any:
        """Gives what the node gives, or would have given."""
        unit = unit_of(n)
        if unit is None or unit not in self._reference:
            return super().run_node(n)
        exact = self._exact(n)
        try:
            value = super().run_node(n)
        except Exception as error:  # noqa: BLE001 - torch raises nearly every kind where a kernel is missing
            self.found[unit] = first_line(error)
            return self._stand_in(n, unit)
        self._compare(unit, exact, value)
        return value

    def _stand_in(self, n: Node, unit: Unit) -> Any:
        """What `n` should have given: quantized, if that is what it was given."""
        quantized = any(_is_quantized(self.env[source]) for source in n.all_input_nodes)
        return tree_map_only(torch.Tensor, _quantized if quantized else _dequantized, self._reference[unit])

    def _exact(self, n: Node) -> list[Tensor]:
        """What the layer that an int8 one stands for gives; found first, as oneDNN's conv + add spoils its input."""
        layer = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        if layer is None or executed_method(layer) == "float":
            return []
        given = layer.rounded if isinstance(layer, FloatLinear) else _dequantized
        args, kwargs = tree_map_only(torch.Tensor, given, self.fetch_args_kwargs_from_env(n))
        return _tensors(self._rounded.get_submodule(str(n.target))(*args, **kwargs))

    def _compare(self, unit: Unit, exacts: list[Tensor], value: Any) -> None:
        noise, rounding = Noise(), Noise()
        for exact, given in zip(exacts, _tensors(value) if exacts else (), strict=True):
            wanted = _dequantized(_rounded_as(given, exact))
            noise.add(wanted, _dequantized(given))
            rounding.add(wanted, wanted + (2 * given.q_scale() if given.is_quantized else 0.0))
        # A signal of a few steps is all rounding: it says nothing against the kernel either.
        audible = noise.error > rounding.error
        if audible and noise.sqnr_db is not None and noise.sqnr_db < LEAST_SQNR_DB:
            self.found[unit] = f"its int8 kernel gives wrong results here ({noise.sqnr_db:.0f} dB)"


class _Recorder(Interpreter):
    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.values: dict[Unit, Any] = {}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        unit = unit_of(n)
        if unit is not None:
            self.values[unit] = value
        return value


def reference_values(observed: GraphModule, inputs: tuple[Tensor, ...]) -> dict[Unit, Any]:
    """What each layer and call gives in the float form of an int8 graph."""
    recorder = _Recorder(observed)
    recorder.run(*inputs)
    return recorder.values


_NO_KERNEL = re.compile(r"Could not run '([^']+)' with arguments from the 'Quantized")
_MAX_REASON = 200


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    missing = _NO_KERNEL.search(str(error))
    if missing:
        return f"torch has no int8 kernel for {missing[1]}"
    lines = (line.partition(" INTERNAL ASSERT")[0].strip().rstrip(".!") for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)[:_MAX_REASON]


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _is_quantized(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_quantized


def _dequantized(value: Tensor) -> Tensor:
    return value.dequantize() if value.is_quantized else value


def _quantized(value: Tensor) -> Tensor:
    """Eight bits over the range of `value`: good enough for what comes after."""
    if not value.is_floating_point():
        return value
    low, high = min(value.min().item(), 0.0), max(value.max().item(), 0.0)
    scale = max((high - low) / 255, 1e-8)
    return torch.quantize_per_tensor(value, scale, round(-low / scale), torch.quint8)


def _rounded_as(given: Tensor, exact: Tensor) -> Tensor:
    """`exact` with the range and the steps of `given`: a value beyond the range says nothing against the kernel."""
    if not given.is_quantized:
        return exact
    return torch.quantize_per_tensor(exact, given.q_scale(), given.q_zero_point(), given.dtype)

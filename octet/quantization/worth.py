"""What is not worth eight bits, though there are kernels for it.

Convolutions and linear layers are where int8 saves time. An addition is worth it only where it spares a way to float
and back, between kernels that give int8 and kernels that take it. Elsewhere it rounds once more for nothing, and worst
in the residual stream of a transformer, which all layers add to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.fx import GraphModule, Node

BETWEEN = "not between two int8 kernels, it would round once more and save nothing"

ROUNDING = frozenset(
    {
        *("add", "iadd", "add_", "sub", "mul", "imul", "mul_", "matmul", "bmm", "cat", "mean", "interpolate"),
        *(f"{kind}avg_pool{dims}d" for kind in ("", "adaptive_") for dims in (1, 2, 3)),
        *("elu", "elu_", "hardswish", "hardswish_"),
        *("sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_", "tanh_"),
        *("ELU", "Hardswish", "Sigmoid", "Hardsigmoid", "Upsample"),
        *(f"{kind}AvgPool{dims}d" for kind in ("", "Adaptive") for dims in (1, 2, 3)),
    }
)
"""Functions, methods and types whose int8 kernels round what they give, and that hold no weights."""

EXACT = frozenset(
    {
        *("dropout", "clone", "contiguous", "pad", "getitem", "chunk", "split", "unbind", "narrow", "repeat", "roll"),
        *("flatten", "reshape", "view", "expand", "unsqueeze", "squeeze", "transpose", "permute", "unflatten"),
        *("slice", "select", "pixel_shuffle", "pixel_unshuffle", *(f"max_pool{dims}d" for dims in (1, 2, 3))),
        *("Dropout", "Identity", "Flatten", "Unflatten", "PixelShuffle", "PixelUnshuffle"),
        *(f"MaxPool{dims}d" for dims in (1, 2, 3)),
    }
)
"""Those that give values as they were given: in int8 they cost nothing, but round what comes from float."""

CLAMPING = frozenset(
    {
        "relu",
        "relu_",
        "relu6",
        "hardtanh",
        "hardtanh_",
        "leaky_relu",
        "leaky_relu_",
        "ReLU",
        "ReLU6",
        "Hardtanh",
        "LeakyReLU",
        "tanh",
        "Tanh",
    }
)
"""Those that become part of the kernel before them, or lose nothing to it: what reads them does not matter."""

WEIGHTLESS = ROUNDING | EXACT | CLAMPING

_ASKING = frozenset({"size", "getattr", "dim", "numel", "sym_size"})
"""Calls that ask about a tensor and read none of its values."""


_WEIGHTED: frozenset[Any] = frozenset(
    {
        nn.functional.linear,
        *(getattr(nn.functional, f"conv{kind}{dims}d") for kind in ("", "_transpose") for dims in (1, 2, 3)),
    }
)
"""Calls that multiply by a weight, like the layers."""


def not_between(module: GraphModule, is_int8: Callable[[str], bool]) -> list[Node]:
    """The calls and layers of `module` that hold no weights and do not lie between int8 and int8.

    One that does is made of nothing but what int8 kernels give, and read by nothing but what takes it: layers with
    weights, or others that lie between.

    Args:
        module: The float graph.
        is_int8: Whether the layer of a path runs a static kernel, whatever is around it.
    """
    neighbours = _Neighbours(module, is_int8)
    candidates = list(neighbours.between)
    while neighbours.drop_by_source() or neighbours.drop_by_reader():
        pass
    return [node for node in candidates if node not in neighbours.between]


class _Neighbours:
    """What is made by int8 and read by int8, narrowed down until nothing changes.

    Attributes:
        between: What may still lie between two int8 kernels.
    """

    def __init__(self, module: GraphModule, is_int8: Callable[[str], bool]) -> None:
        self._nodes = list(module.graph.nodes)
        self._kinds = {node: _kind(node, module) for node in self._nodes}
        self._int8 = {
            node
            for node in self._nodes
            if node.target in _WEIGHTED or (node.op == "call_module" and is_int8(str(node.target)))
        }
        self._numbers: set[Node] = set()
        self.between: dict[Node, None] = {}
        for node in self._nodes:
            sources = node.all_input_nodes
            if self._kinds[node] in _ASKING or (sources and self._numbers.issuperset(sources)):
                self._numbers.add(node)
            elif self._kinds[node] in WEIGHTLESS and node not in self._int8:
                self.between[node] = None

    def drop_by_source(self) -> bool:
        """Drops what is made of something in float; whether there was any."""
        before, made = len(self.between), set(self._int8)
        for node in self._nodes:
            sources = set(node.all_input_nodes) - self._numbers
            if node in self.between and sources and made.issuperset(sources):
                made.add(node)
            else:
                self.between.pop(node, None)
        return len(self.between) < before

    def drop_by_reader(self) -> bool:
        """Drops what something in float reads, or nothing but the caller; whether there was any."""
        before = len(self.between)
        takes: dict[Node, bool | None] = {}  # None: it neither takes int8 nor float
        for node in reversed(self._nodes):
            read = {takes[user] for user in node.users} - {None} == {True}
            if not read and self._kinds[node] not in CLAMPING:
                self.between.pop(node, None)
            if node in self._int8 or node in self.between:
                takes[node] = True
            else:
                takes[node] = None if node.op == "output" or node in self._numbers else False
        return len(self.between) < before


def _kind(node: Node, module: GraphModule) -> str:
    """The name of what a node calls: of a layer's type, a function or a method."""
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))

"""The shapes that values have on one small batch, found by running the float graph on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter

from octet.state import kept

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

Shapes = dict[str, tuple[int, ...]]
"""Name of a node that makes a tensor -> the tensor's shape."""


def shapes_of(module: GraphModule, inputs: tuple[Tensor, ...]) -> Shapes:
    """The shape of every tensor that `module` makes of `inputs`."""
    recorder = _Recorder(module)
    with torch.no_grad(), kept(module):
        recorder.run(*inputs)
    return recorder.shapes


def input_ranks(module: GraphModule, shapes: Shapes) -> dict[str, int]:
    """How many dimensions the input of each layer has, by the path of the layer; of its first call."""
    ranks: dict[str, int] = {}
    for node in module.graph.nodes:
        if node.op == "call_module" and node.all_input_nodes[0].name in shapes:
            ranks.setdefault(str(node.target), len(shapes[node.all_input_nodes[0].name]))
    return ranks


class _Recorder(Interpreter):
    """Runs a graph and notes the shapes."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.shapes: Shapes = {}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            self.shapes[n.name] = tuple(value.shape)
        return value

"""Values that eight bits cannot hold, and so are not observed: what reads or makes them then stays in float.

Integers and infinities have no scale, and double precision has no kernel. Nor has a masked score a scale that is of
use: it is -1e9 or less, so one that reaches it has steps of millions, and all other scores become equal. FX graph mode
looks at none of them.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch.ao.quantization import FakeQuantizeBase, ObserverBase
from torch.fx import Interpreter
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

SOFTMAX = (torch.softmax, functional.softmax)
"""In float too: torch's kernel computes it in float, then rounds to 1/256, which over a long sequence is most of it."""

READS_LOGITS: tuple[Any, ...] = (
    *SOFTMAX, torch.log_softmax, functional.log_softmax, functional.scaled_dot_product_attention,
)  # fmt: skip
_ARITHMETIC: tuple[Any, ...] = (
    torch.add, torch.sub, torch.rsub, torch.mul, torch.div, torch.where, torch.masked_fill, torch.baddbmm,
    operator.add, operator.sub, operator.mul, operator.truediv,
)  # fmt: skip
_RESHAPING: tuple[Any, ...] = (
    "reshape", "view", "expand", "unsqueeze", "squeeze", "transpose", "permute", "contiguous", "to",
    torch.ops.aten.slice, torch.select,
)  # fmt: skip
_PRODUCTS: tuple[Any, ...] = (torch.matmul, operator.matmul, torch.bmm)


def exempt(observed: GraphModule, inputs: tuple[Tensor, ...]) -> None:
    """Takes the observers of such values out of `observed`; runs it once on `inputs` to find them."""
    run = _DryRun(observed)
    with torch.no_grad():
        run.run(*inputs)
    logits = _logits(observed, run.observers)
    for observer in run.observers:
        value = observer.all_input_nodes[0]
        fixed = value.op in {"placeholder", "get_attr"} and logits.issuperset(observer.users)
        if value in logits or fixed or observer in run.unfit:
            observer.replace_all_uses_with(value)
            observed.graph.erase_node(observer)
    observed.recompile()


class _DryRun(Interpreter):
    """Runs an observed graph without observing, and notes which observers would get something unfit."""

    def __init__(self, observed: GraphModule) -> None:
        super().__init__(observed)
        self.observers: dict[Node, None] = {}
        self.unfit: set[Node] = set()

    def run_node(self, n: Node) -> Any:
        if n.op != "call_module" or not isinstance(self.fetch_attr(str(n.target)), (ObserverBase, FakeQuantizeBase)):
            return super().run_node(n)
        self.observers[n] = None
        value = self.env[n.all_input_nodes[0]]
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or not value.isfinite().all():
            self.unfit.add(n)
        return value


def _logits(observed: GraphModule, observers: dict[Node, None]) -> set[Node]:
    """The arithmetic on what a softmax reads, back to the layers and products that make it, and what reshapes that."""
    found: set[Node] = set()
    waiting = [
        source for node in observed.graph.nodes if node.target in READS_LOGITS for source in node.all_input_nodes
    ]
    while waiting:
        node = waiting.pop()
        if node not in found and (node.target in _ARITHMETIC or node.target in _RESHAPING or node in observers):
            found.add(node)
            waiting.extend(node.all_input_nodes)
    # The output of a layer, reshaped, keeps the layer's scale: it costs nothing.
    for node in observed.graph.nodes:
        source = node.all_input_nodes[0] if node in found and node.target not in _ARITHMETIC else None
        if source and source not in found and (source.op == "call_module" or source.target in _PRODUCTS):
            found.discard(node)
    return found

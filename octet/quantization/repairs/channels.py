"""Which channels of a graph have to be scaled together, if at all, for the graph to compute the same.

Each channel that a layer gives gets a number, and the numbers go through the graph in place of the values: a reshape
moves them, a concatenation puts them side by side, an addition makes those that meet one. What a layer reads then says
which channel each column of its weight belongs to, whatever lies in between: residual additions, several readers,
channel shuffles, or one weight that is used twice. Channels that meet anything else keep their scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter, Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves, tree_map

from octet.quantization.repairs.classes import FIXED, Classes, compact
from octet.quantization.repairs.rules import RULES, opaque
from octet.state import kept

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.fx import GraphModule

    from octet.quantization.repairs.rules import Rule


@dataclass(frozen=True)
class Site:
    """A layer where it is called, with the numbers of the channels that it reads and of those that it gives."""

    path: str
    layer: nn.Module
    reads: Tensor
    gives: Tensor


@dataclass(frozen=True)
class Bound:
    """A call of a layer that clamps what it reads.

    Attributes:
        node: The call.
        channels: The numbers of the channels that it clamps; each dimension along which they repeat has size 1.
        low: The least value that passes.
        high: The largest.
    """

    node: Node
    channels: Tensor
    low: float
    high: float


@dataclass(frozen=True)
class Channels:
    """The channels of a graph.

    Attributes:
        sites: Every call of a layer with a weight.
        bounds: Every clamp of channels.
        classes: Number of a channel -> number of the class of those that share its scale; class `FIXED` keeps it.
    """

    sites: list[Site]
    bounds: list[Bound]
    classes: Tensor


def channels_of(module: GraphModule, inputs: tuple[Tensor, ...]) -> Channels:
    """Follows the channels of `module` while it runs on `inputs`."""
    flow = Flow(module)
    with torch.no_grad(), kept(module):
        flow.run(*inputs)
    _join_shared_weights(module, flow)
    return Channels(flow.sites, flow.bounds, flow.classes.roots())


def _join_shared_weights(module: GraphModule, flow: Flow) -> None:
    """A weight, or a bias, of several calls has one scale; one that the graph reads by itself keeps its own."""
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    first: dict[int, Site] = {}
    for site in flow.sites:
        for name, parameter in site.layer.named_parameters(recurse=False):
            known = first.setdefault(id(parameter), site)
            flow.classes.join(known.gives, site.gives)
            if name == "weight":
                flow.classes.join(known.reads, site.reads)
            if f"{site.path}.{name}" in read:
                flow.classes.fix(site.gives)
                flow.classes.fix(site.reads)


class Flow(Interpreter):
    """Runs a graph, and beside each tensor of floats keeps one of the same shape: the number of each value's channel.

    Attributes:
        sites: Every call of a layer with a weight.
        bounds: Every clamp of channels.
        classes: The numbers.
    """

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.sites: list[Site] = []
        self.bounds: list[Bound] = []
        self.classes = Classes()
        self._numbers: dict[Node, Any] = {}

    def run_node(self, n: Node) -> Any:
        """Gives what the node gives, and notes the numbers of its channels."""
        value = super().run_node(n)
        # A tensor without values has no channels to tell: what it was taken from keeps its scale.
        told = all(leaf.is_floating_point() and leaf.numel() > 0 for leaf in _tensors(value))
        numbers = self._rule(n)(self, n, value) if told else None
        if numbers is None:
            for leaf in _tensors([self._numbers[source] for source in n.all_input_nodes]):
                self.classes.fix(leaf)
            numbers = tree_map(_fixed, value)
        self._numbers[n] = numbers
        for done in self.user_to_last_uses.get(n, ()):
            self._numbers.pop(done, None)
        return value

    def called(self, node: Node) -> Any:
        """The module that `node` calls."""
        return self.fetch_attr(str(node.target))

    def kind(self, node: Node) -> Any:
        """The function or the method that `node` calls, or the name of the module's class."""
        return type(self.called(node)).__name__ if node.op == "call_module" else node.target

    def numbers(self, node: Node) -> Tensor:
        """The numbers of the first argument of `node`."""
        found: Tensor = self._numbers[node.all_input_nodes[0]]
        return found

    def operand(self, argument: Any) -> Tensor:
        """The numbers of an argument of a call. A number in it is a constant of any shape."""
        found: Tensor = self._numbers[argument] if isinstance(argument, Node) else torch.tensor(float(FIXED))
        return found

    def arguments(self, node: Node) -> tuple[Any, Any]:
        """The arguments of a call and those by name, with the numbers in place of floats."""

        def chosen(source: Node) -> Any:
            floats = any(leaf.is_floating_point() for leaf in _tensors(self.env[source]))
            return self._numbers[source] if floats else self.env[source]

        return map_arg(node.args, chosen), map_arg(node.kwargs, chosen)

    def note_site(self, node: Node, reads: Tensor, gives: Tensor) -> None:
        """Notes a call of a layer with a weight."""
        self.sites.append(Site(str(node.target), self.called(node), reads, gives))

    def note_bound(self, node: Node) -> None:
        """Notes a call of a clamp."""
        layer = self.called(node)
        self.bounds.append(Bound(node, compact(self.numbers(node))[:1], layer.min_val, layer.max_val))

    def _rule(self, node: Node) -> Rule:
        return RULES.get(self.kind(node), opaque) if node.op.startswith("call_") else opaque


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _fixed(value: Any) -> Any:
    return torch.tensor(float(FIXED)).expand(value.shape) if isinstance(value, torch.Tensor) else value

"""Which values a graph computes of its weights alone: such a value is the same at every call, so it can be a weight.

Weight standardisation, weight norm, a `cat` of biases, a slice, a mask, a cast: what they give is computed once, when
the module is built, and the layer that takes it owns the result.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from octet.program import ops
from octet.program.graph import Graph, Node, Weight, refs
from octet.program.steps import Module

if TYPE_CHECKING:
    from octet.program.pt2 import schema
    from octet.program.steps import Function, Method

FREE_ELEMENTS = 2**22
"""What a computed value may have beyond as many elements as all weights of the file together."""


class Computed:
    """Follows the graph node by node, and notes in it what is computed of weights alone."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[str, tuple[str, ...]] = {}
        self._largest: dict[str, Weight] = {}
        self._limit = FREE_ELEMENTS + sum(prod(weight.shape) for weight in graph.weights.values())

    def note(self, node: Node, expression: Module | Function | Method) -> tuple[str, ...] | None:
        """Notes the results of `node`, if all that its expression uses are weights.

        Returns:
            The results of an earlier call that computes the same, as where a layer that is called twice standardises
            its weight each time; None if there is none.
        """
        owned = expression.weights.values() if isinstance(expression, Module) else ()
        given = set(refs(list(node.args.values())))
        used = dict.fromkeys((*refs(expression.values()), *owned))
        # What is made out of nothing is made beside the first input, which is no argument of it.
        sources = [ref for ref in used if ref in given or ref.name != self._graph.inputs[0]]
        metas = [self._graph.metas.get(result) for result in node.results]
        if not all(map(self._graph.weight, sources)) or not all(map(self._is_fixed, metas)):
            return None
        if not ops.in_place(node.target):
            same = self._known.setdefault(repr((node.target, sorted(node.args.items()))), node.results)
            if same != node.results:
                return same
        weights = [self._largest.get(source.name) or self._graph.weights.get(source.name) for source in sources]
        largest = max(filter(None, weights), key=lambda weight: prod(weight.shape), default=None)
        trained = any(weight.kind == "parameter" for weight in map(self._graph.weight, sources) if weight)
        for result, meta in zip(node.results, metas, strict=True):
            if largest:
                self._largest[result] = largest
            if meta:
                name = largest.name if largest else ""
                self._graph.computed[result] = Weight("parameter" if trained else "constant", name, meta)
        return None

    def _is_fixed(self, meta: schema.TensorMeta | None) -> bool:
        """Whether a value is a tensor with sizes that are numbers, and no huge ones."""
        if meta is None:
            return False
        sizes = [size.as_int for size in meta.sizes]
        known = [size for size in sizes if size is not None and size >= 0]
        return len(known) == len(sizes) and prod(known) <= self._limit

"""Which values of a graph share memory, so that an operator that overwrites one is not misread.

torch.export records `y = relu_(x)` with later readers of `x` still reading `x`. Rebuilt without overwriting, they have
to read `y` instead; and if `x` was only a part of something that is read later, there is no such replacement.
"""

from __future__ import annotations

from octet.errors import UnsupportedOperatorError
from octet.program import ops
from octet.program.graph import Graph, Node, Ref, refs

# Operators that give back their argument itself when they have nothing to do.
IDENTITIES = frozenset({"aten.alias", "aten.detach", "aten.dropout", "aten.feature_dropout"})


class Memory:
    """Follows the graph node by node."""

    def __init__(self, graph: Graph) -> None:
        self._storage: dict[str, str] = {}  # value -> the value whose memory it lies in
        self._whole: dict[str, str] = {}  # value -> the value it is one and the same tensor with
        self._weights = graph.weights
        self._last_read = {
            ref.name: position for position, node in enumerate(graph.nodes) for ref in refs(list(node.args.values()))
        }
        self._last_read.update({ref.name: len(graph.nodes) for ref in refs(graph.outputs)})

    def add(self, node: Node) -> None:
        """Notes what the results of `node` share memory with."""
        target = ops.canonical(node.target)
        overwrites = ops.in_place(node.target)
        source = node.args[node.positional[0]] if node.positional else None
        if not isinstance(source, Ref) or not (overwrites or target in ops.VIEWS):
            return
        for result in node.results:
            self._storage[result] = self._storage.get(source.name, source.name)
            if overwrites or target in IDENTITIES:
                self._whole[result] = self._whole.get(source.name, source.name)

    def overwritten(self, position: int, node: Node) -> list[str]:
        """The values that are, after `node` has overwritten its first argument, one with its result.

        Raises:
            UnsupportedOperatorError: If a weight, or a part of something that is read later, is overwritten.
        """
        written = node.ref(node.positional[0]).name
        storage, whole = self._storage.get(written, written), self._whole.get(written, written)
        if storage in self._weights and not self._weights[storage].name.endswith("num_batches_tracked"):
            raise _unsupported(node, f"overwrites the weight {self._weights[storage].name!r}")
        sharing = [storage, *(name for name, owner in self._storage.items() if owner == storage)]
        same = [name for name in sharing if self._whole.get(name, name) == whole]
        if any(self._last_read.get(name, -1) > position for name in set(sharing) - set(same)):
            raise _unsupported(node, "overwrites part of a tensor that is read later")
        return same


def _unsupported(node: Node, what: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"{node.target} in module {node.module!r} {what}, which Octet cannot rebuild.",
        hint="Write that line without the in-place operation and export again.",
    )

"""Takes writes to memory out of a graph: each becomes a new value, and what shared memory with the old is made of it.

torch.export records `y = x[:, 0]; y.mul_(2); return x` as it is written. The graph that Octet builds has no memory to
share, so it becomes `y2 = y * 2; x2 = select_scatter(x, y2, 1, 0); return x2`, as in torch's own functionalization.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from octet.errors import InvalidModelError, UnsupportedOperatorError
from octet.program import ops
from octet.program.graph import DTYPES, Graph, Node, Ref, Value, refs
from octet.program.ops.views import MAX_PIECES, VIEWS, Written

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DEPTH = 64
"""Views of views of views that are followed."""
MAX_ADDED = 20_000
"""Calls that are added for the sake of views."""

# Arguments whose dtype has no part in that of the result.
_NO_OPERAND = frozenset({"index", "indices", "mask", "src", "source", "value", "values"})
# What gives another dtype than it takes, except in place.
_CONVERTING = frozenset(
    {
        "cumsum", "cumprod", "eq", "ne", "lt", "le", "gt", "ge", "greater", "greater_equal", "less", "less_equal",
        "not_equal", "logical_and", "logical_or", "logical_xor", "logical_not",
    }
)  # fmt: skip


def without_writes(graph: Graph) -> Graph:
    """The same graph in which no operator overwrites a value.

    A weight or an input that is overwritten is the new value from there on. `updates` says what weights are in the end.

    Raises:
        UnsupportedOperatorError: If something is read of which, after a write to a view, it is not known what it is.
    """
    if not any(ops.in_place(node.target) for node in graph.nodes):
        return graph
    writing = _Functionalization(graph)
    for node in graph.nodes:
        writing.add(node)
    outputs = {name: writing.now(value) for name, value in graph.outputs.items()}
    updates = {name: writing.now(graph.updates.get(name, Ref(name))) for name in graph.weights}
    producers = {result: node for node in writing.nodes for result in node.results}
    return replace(graph, nodes=tuple(writing.nodes), outputs=outputs, updates=updates, producers=producers)


@dataclass(eq=False, slots=True)
class _Tensor:
    """A tensor of the source.

    Attributes:
        name: The source's first name for it.
        value: The value that is in it now.
        link: Of a view: of what, and how.
        version: How often it was written, itself or through a view of it.
        lost: The write that made it unknown what is in it.
    """

    name: str
    value: str
    link: _Link | None = None
    version: int = 0
    lost: Node | None = None


@dataclass(eq=False, slots=True)
class _Link:
    """What makes a tensor a view.

    Attributes:
        parent: What it is a view of.
        root: The tensor whose memory both lie in.
        depth: How many views it is away from that.
        seen: The version of the parent that the view's value belongs to.
        call: The call that made it.
        index: Which of the results of that call it is.
        pieces: All results of that call that are views of the same parent; they share no memory with each other.
        certain: Whether it surely shares memory with the parent.
    """

    parent: _Tensor
    root: _Tensor
    depth: int
    seen: int
    call: Node
    index: int
    pieces: list[_Tensor]
    certain: bool


class _Functionalization:
    """Follows the graph node by node; `nodes` is what it becomes."""

    def __init__(self, graph: Graph) -> None:
        self.nodes: list[Node] = []
        self._graph = graph
        self._tensors: dict[str, _Tensor] = {}
        self._names = {*graph.inputs, *graph.weights, *(result for node in graph.nodes for result in node.results)}
        self._numbers = count(1)
        self._added = 0

    def now(self, value: Value) -> Value:
        """`value` with each tensor in it replaced by the value that is in that tensor now."""
        if isinstance(value, Ref):
            tensor = self._tensors.get(value.name)
            return Ref(self._read(tensor)) if tensor else value
        return [self.now(item) for item in value] if isinstance(value, list) else value

    def add(self, node: Node) -> None:
        """Appends what a call becomes."""
        call = replace(node, args={name: self.now(value) for name, value in node.args.items()})
        if not ops.in_place(node.target):
            self.nodes.append(call)
            self._note_views(node, call)
            return
        if not node.positional or len(node.results) != 1:
            raise InvalidModelError(f"{node} does not say what it overwrites.")
        source, result = node.ref(node.positional[0]).name, node.results[0]
        call = replace(call, target=ops.functional(node.target))
        if ops.canonical(node.target) in VIEWS:  # squeeze_, transpose_: the same memory in another form
            self.nodes.append(call)
            self._note_views(replace(node, target=call.target), call)
            self._tensors[source] = self._tensors[result]
            return
        self._append_in_dtype(call)
        self._tensors[result] = self._tensor(source)
        self._write(self._tensors[result], result, node)

    def _tensor(self, name: str) -> _Tensor:
        return self._tensors.setdefault(name, _Tensor(name, name))

    def _note_views(self, node: Node, call: Node) -> None:
        """Notes what the results of a call share memory with, and how to repeat it: with the values of this moment."""
        view = VIEWS.get(ops.canonical(node.target))
        viewed = node.args.get(view.of or node.positional[0]) if view and node.positional else None
        sources = list(refs(viewed if isinstance(viewed, list) else [viewed] * len(node.results)))
        shares = view.shares(node, self._graph) if view and sources else False
        if shares is False:
            return
        pieces = [_Tensor(result, result) for result in node.results]
        for index, (piece, source) in enumerate(zip(pieces, sources, strict=False)):
            parent = self._tensor(source.name)
            root, depth = (parent.link.root, parent.link.depth + 1) if parent.link else (parent, 1)
            if depth > MAX_DEPTH:
                raise _unsupported(node, f"is a view of more than {MAX_DEPTH} views")
            siblings = [piece] if isinstance(viewed, list) else pieces
            piece.link = _Link(parent, root, depth, parent.version, call, index, siblings, shares is True)
        self._tensors.update(zip(node.results, pieces, strict=True))

    def _read(self, tensor: _Tensor) -> str:
        """The value that is in a tensor now."""
        if not _is_current(tensor):
            self._view_again(tensor)
        if tensor.lost:
            raise _unsupported(tensor.lost, "overwrites part of a tensor that is read later")
        return tensor.value

    def _view_again(self, tensor: _Tensor) -> None:
        """Repeats the call that made a view, since what it is a view of was written."""
        link = tensor.link
        if link is None:
            return
        if not link.certain:
            raise _unsupported(link.call, "may or may not share memory with a tensor that is overwritten later")
        base: dict[str, Value] = {link.call.positional[0]: Ref(self._read(link.parent))}
        names = tuple(self._fresh(result) for result in link.call.results)
        call = replace(link.call, args={**link.call.args, **base}, results=names)
        self._append(call, like=link.call.results)
        for piece, name in zip(link.pieces, names, strict=True):
            if piece.link and piece.link.seen != link.parent.version:
                piece.value, piece.lost = name, None
                piece.version += 1
                piece.link.seen = link.parent.version

    def _write(self, tensor: _Tensor, value: str, write: Node) -> None:
        """Notes a tensor's new value, and what it makes of the tensors that it is a view of."""
        tensor.value, tensor.lost = value, None
        tensor.version += 1
        while link := tensor.link:
            parent = link.parent
            known = link.certain and not parent.lost and not tensor.lost
            undone = self._undo(tensor, link, write) if known else None
            current = [piece.link for piece in link.pieces if piece.link and piece.link.seen == parent.version]
            parent.version += 1
            if undone is None:
                parent.lost = parent.lost or write
            else:
                parent.value = undone
            for piece in current:
                piece.seen = parent.version
            tensor = parent

    def _undo(self, tensor: _Tensor, link: _Link, write: Node) -> str | None:
        """Appends the call that makes the new parent of a written view, if there is one."""
        view = VIEWS[ops.canonical(link.call.target)]
        if len(link.pieces) > MAX_PIECES:
            return None
        pieces = [Ref(self._read(piece)) for piece in link.pieces] if view.parted else []
        undone = view.undo(link.call, Written(Ref(link.parent.value), Ref(tensor.value), link.index, pieces))
        if undone is None:
            return None
        target, args = undone
        name = self._fresh(link.parent.name)
        call = replace(write, target=target, args=args, positional=tuple(args), results=(name,), single=True)
        self._append(call, like=(link.parent.name,))
        return name

    def _append_in_dtype(self, call: Node) -> None:
        """Appends a call that was in place; its result keeps the dtype of what it overwrites."""
        place, result = call.positional[0], call.results[0]
        kind = self._dtype(result)
        operands = (value for name, value in call.args.items() if name != place and name not in _NO_OPERAND)
        others = {self._dtype(value.name) for value in operands if isinstance(value, Ref)}
        if ops.canonical(call.target).split(".")[1] in _CONVERTING or others - {kind, None}:
            made = self._fresh(result)
            self._append(replace(call, results=(made,)), like=(result,))
            kept: dict[str, Value] = {"self": Ref(made), "other": call.ref(place)}
            call = replace(call, target="aten.type_as.default", args=kept, positional=tuple(kept))
        self.nodes.append(call)

    def _dtype(self, name: str) -> str | None:
        meta = self._graph.metas.get(name)
        return DTYPES.get(meta.dtype) if meta else None

    def _append(self, node: Node, like: Sequence[str]) -> None:
        """Appends a call that the file does not have; its results have the forms of these values."""
        self._added += 1
        if self._added > MAX_ADDED:
            raise _unsupported(node, "is one of more writes to views than Octet follows")
        metas = self._graph.metas
        metas.update((name, metas[known]) for name, known in zip(node.results, like, strict=True) if known in metas)
        self.nodes.append(node)

    def _fresh(self, name: str) -> str:
        """A new name, for what was `name`."""
        while (fresh := f"{name}.{next(self._numbers)}") in self._names:
            pass
        return fresh


def _is_current(tensor: _Tensor) -> bool:
    """Whether nothing that a view is of was written since the view was."""
    link = tensor.link
    if link is None or not link.root.version:
        return True
    while link:
        if link.seen != link.parent.version:
            return False
        link = link.parent.link
    return True


def _unsupported(node: Node, what: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"{node} {what}, which Octet cannot rebuild.",
        hint="Write that line without the in-place operation and export again.",
    )

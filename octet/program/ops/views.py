"""Operators whose result lies in the memory of their first argument, and what a write to the result does to that.

This is what torch's own functionalization knows (`torchgen/gen_functionalization_type.py`): after `y = x[:, 0]` and a
write to `y`, `x` is `select_scatter(x, y, 1, 0)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from octet.program.graph import Graph, Node, Ref, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from octet.program.pt2.schema import Size, TensorMeta

WHOLE = 2**63 - 1
"""The end of a slice that has none."""
MAX_PIECES = 256
"""Pieces that are put together again after a write to one of them."""

Call = tuple[str, dict[str, Value]]


@dataclass(frozen=True, slots=True)
class Written:
    """A write to a view.

    Attributes:
        base: What the view is of, before the write.
        new: The view after the write.
        index: Which of the results of the view's call it is.
        pieces: All of those results, after the write; only where `View.parted`.
    """

    base: Ref
    new: Ref
    index: int
    pieces: list[Ref]


@dataclass(frozen=True, slots=True)
class View:
    """How an operator shares memory.

    Attributes:
        undo: The call that makes, of the base and the written view, the base as it then is; None if there is none.
        shares: Whether a call's result shares memory with its argument; None if the file does not tell.
        parted: Whether undoing it needs all pieces.
        of: The argument that the result shares memory with; "" is the first. Where it is a list, each result does so
            with an item of its own.
    """

    undo: Callable[[Node, Written], Call | None]
    shares: Callable[[Node, Graph], bool | None] = lambda _, __: True
    parted: bool = False
    of: str = ""


def _whole(_: Node, written: Written) -> Call:
    return "aten.alias.default", {"self": written.new}


def _reshaped(_: Node, written: Written) -> Call:
    return "aten.view_as.default", {"self": written.new, "other": written.base}


def _never(_: Node, __: Written) -> None:
    return None


def _sliced(view: Node, written: Written) -> Call:
    start, end, step = view.args.get("start"), view.args.get("end"), view.args.get("step", 1)
    if start in (None, 0) and end in (None, WHOLE) and step == 1:
        return _whole(view, written)
    where = {"dim": view.args.get("dim", 0), "start": start, "end": end, "step": step}
    return "aten.slice_scatter.default", {"self": written.base, "src": written.new, **where}


def _narrowed(view: Node, written: Written) -> Call | None:
    start, length = view.args.get("start"), view.args.get("length")
    if not isinstance(start, int) or not isinstance(length, int) or start < 0:
        return None
    where = {"dim": view.args.get("dim", 0), "start": start, "end": start + length}
    return "aten.slice_scatter.default", {"self": written.base, "src": written.new, **where}


def _selected(view: Node, written: Written) -> Call:
    where = {"dim": view.required("dim"), "index": view.required("index")}
    return "aten.select_scatter.default", {"self": written.base, "src": written.new, **where}


def _unbound(view: Node, written: Written) -> Call:
    where: dict[str, Value] = {"dim": view.args.get("dim", 0), "index": written.index}
    return "aten.select_scatter.default", {"self": written.base, "src": written.new, **where}


def _diagonal(view: Node, written: Written) -> Call:
    where = {name: view.args.get(name, default) for name, default in (("offset", 0), ("dim1", 0), ("dim2", 1))}
    return "aten.diagonal_scatter.default", {"self": written.base, "src": written.new, **where}


def _parted(view: Node, written: Written) -> Call:
    return "aten.cat.default", {"tensors": list[Value](written.pieces), "dim": view.args.get("dim", 0)}


def _again(view: Node, written: Written) -> Call:
    """Of an operator that undoes itself."""
    return view.target, {**view.args, view.positional[0]: written.new}


def _permuted(view: Node, written: Written) -> Call | None:
    dims = view.required("dims")
    if not isinstance(dims, list) or not all(isinstance(dim, int) for dim in dims):
        return None
    places = [dim % len(dims) for dim in dims if isinstance(dim, int)]
    return "aten.permute.default", {"self": written.new, "dims": [places.index(dim) for dim in range(len(dims))]}


def _moved(view: Node, written: Written) -> Call:
    places = {"source": view.required("destination"), "destination": view.required("source")}
    return view.target, {"self": written.new, **places}


def _real(_: Node, written: Written) -> Call:
    return "aten.view_as_complex.default", {"self": written.new}


def _complex(_: Node, written: Written) -> Call:
    return "aten.view_as_real.default", {"self": written.new}


def _reshapes_memory(node: Node, graph: Graph) -> bool | None:
    """Whether `reshape` or one of its kin gives a view.

    It does so where the argument lies in one piece. Where it does not, the result does only if it was copied.
    """
    if (argument := lies_in_one_piece(graph.meta(node.ref(node.positional[0])))) is not False:
        return argument
    result = lies_in_one_piece(graph.meta(Ref(node.results[0])))
    return None if result is None else not result


def _contiguous(node: Node, graph: Graph) -> bool | None:
    if node.args.get("memory_format") is not None:
        return None
    return lies_in_one_piece(graph.meta(node.ref(node.positional[0])))


def _same_dtype(node: Node, graph: Graph) -> bool:
    source = graph.meta(node.ref(node.positional[0]))
    return node.args.get("copy") is not True and source.dtype == graph.meta(Ref(node.results[0])).dtype


def _perhaps(_: Node, __: Graph) -> None:
    return None


def _of_one(node: Node, _: Graph) -> bool | None:
    """An einsum of one tensor may do no more than reorder its dimensions."""
    tensors = node.args.get("tensors")
    return None if isinstance(tensors, list) and len(tensors) == 1 else False


def _in_eval(node: Node, _: Graph) -> bool:
    return node.args.get("train") is False or node.args.get("p") == 0


def lies_in_one_piece(meta: TensorMeta) -> bool | None:
    """Whether a tensor is contiguous; None if its sizes are open and do not tell."""
    expected: _Product = (1, [])
    for size, stride in zip(reversed(meta.sizes), reversed(meta.strides), strict=False):
        if size.as_int == 1:
            continue
        found = _factors(stride)
        if found != expected:
            return None if found[1] and expected[1] else False
        expected = _times(expected, _factors(size))
    return True


_Product = tuple[int, list[str]]
"""A number times expressions."""


def _factors(size: Size) -> _Product:
    """A size as a product. Expressions are compared as texts, never parsed as code."""
    if size.as_expr is None:
        return size.as_int or 0, []
    text = size.as_expr.expr_str
    inner = _split(text[4:-1]) if text.startswith("Mul(") and text.endswith(")") else [text]
    numbers = [int(part[8:-1]) for part in inner if part.startswith("Integer(") and part[8:-1].isdecimal()]
    return prod(numbers), sorted(part for part in inner if not part.startswith("Integer("))


def _times(one: _Product, other: _Product) -> _Product:
    return one[0] * other[0], sorted([*one[1], *other[1]])


def _split(text: str) -> list[str]:
    """The parts of a text between the commas that stand in no parentheses."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def _views(names: str, view: View) -> dict[str, View]:
    return {f"aten.{name}": view for name in names.split()}


VIEWS: dict[str, View] = {
    # the same tensor, where there is nothing to do
    **_views("alias detach lift_fresh positive", View(_whole)),
    **_views("contiguous", View(_whole, _contiguous)),
    **_views("to.device to.dtype to.dtype_layout to.other type_as", View(_whole, _same_dtype)),
    **_views("dropout feature_dropout alpha_dropout feature_alpha_dropout", View(_whole, _in_eval)),
    # in another shape
    **_views("view view_as unsqueeze squeeze squeeze.dim squeeze.dims unflatten.int", View(_reshaped)),
    **_views("atleast_1d atleast_2d atleast_3d", View(_reshaped)),
    **_views("reshape reshape_as flatten.using_ints ravel", View(_reshaped, _reshapes_memory)),
    # in another order
    **_views("transpose.int t mT numpy_T swapaxes swapdims adjoint mH matrix_H", View(_again)),
    **_views("permute", View(_permuted)),
    **_views("movedim.int movedim.intlist moveaxis.int moveaxis.intlist", View(_moved)),
    # parts
    **_views("slice.Tensor", View(_sliced)),
    **_views("narrow", View(_narrowed)),
    **_views("select.int", View(_selected)),
    **_views("diagonal linalg_diagonal", View(_diagonal)),
    **_views("unbind.int", View(_unbound)),
    **_views("chunk split.Tensor split.sizes split_with_sizes", View(_parted, parted=True)),
    **_views("tensor_split.sections tensor_split.indices unsafe_chunk unsafe_split.Tensor", View(_parted, parted=True)),
    **_views("unsafe_split_with_sizes", View(_parted, parted=True)),
    # complex values
    **_views("view_as_real", View(_real)),
    **_views("view_as_complex", View(_complex)),
    # one place of memory at several places of the result, or places that are not to be told
    **_views("expand expand_as broadcast_to unfold as_strided real imag view.dtype", View(_never)),
    **_views("hsplit.int hsplit.array vsplit.int vsplit.array dsplit.int dsplit.array narrow.Tensor", View(_never)),
    **_views("_conj conj resolve_conj resolve_neg diag sum_to_size", View(_never, _perhaps)),
    # several tensors, each for itself
    **_views("broadcast_tensors meshgrid meshgrid.indexing", View(_never, _perhaps)),
    **_views("atleast_1d.Sequence atleast_2d.Sequence atleast_3d.Sequence", View(_never, _perhaps)),
    **_views("einsum", View(_never, _of_one, of="tensors")),
}

"""Products of matrices, and linear algebra.

A product of an activation with a parameter is a linear layer, however the source writes it.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from octet.program.graph import Graph, Ref
from octet.program.ops.rows import Rebuild, function, leaf, operator, operators
from octet.program.steps import Expression, Function, Module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octet.program.graph import Node, Value


def product(name: str, left: str, right: str) -> Rebuild:
    """`left[..., in] @ right[in, out]`, or `left[out, in] @ right[..., in, n]`."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        first, second = node.args.get(left), node.args.get(right)
        layer = _layer(graph, first, second, columns=[0], rows=[1])
        if layer is None:
            layer = _layer(graph, second, first, columns=[1], rows=[0])
            if layer is not None:  # it sums over the last dimension but one
                turned = Function("torch.transpose", (second, -1, -2))
                layer = replace(layer, inputs=(turned,), then=("transpose", (-1, -2)))
        return layer or function(name)(node, graph)

    return rebuild


def affine(node: Node, graph: Graph) -> Expression:
    """`addmm(self[out], mat1[n, in], mat2[in, out], beta=1, alpha=1)`."""
    layer = None
    if (node.args.get("beta", 1), node.args.get("alpha", 1)) == (1, 1):
        layer = _layer(
            graph, node.args.get("mat1"), node.args.get("mat2"), columns=[0], rows=[1], bias=node.args.get("self")
        )
    return layer or function("torch.addmm")(node, graph)


def einsum(node: Node, graph: Graph) -> Expression:
    """`einsum(equation, tensors)` of two, such as `"...i,io->...o"` or `"bih,hnd->bind"`, in either order."""
    tensors = node.required("tensors")
    terms, _, result = str(node.required("equation")).replace(" ", "").replace("...", ".").partition("->")
    pairs = list(zip(terms.split(","), tensors, strict=False)) if isinstance(tensors, list) else []
    layer = None
    if len(pairs) == len(("left", "right")) and terms.count(",") == 1:
        first, second = pairs
        layer = _contraction(graph, first, second, result) or _contraction(graph, second, first, result)
    return layer or function("torch.einsum")(node, graph)


def tensordot(node: Node, graph: Graph) -> Expression:
    """`tensordot(self, other, dims_self, dims_other)`, where the dimensions of `self` are its last, in order."""
    source, weight = node.ref("self"), graph.weight(node.required("other"))
    layer = None
    if weight is not None:
        rank, size = graph.rank(source), len(weight.shape)
        summed, columns = _positions(node.required("dims_self"), rank), _positions(node.required("dims_other"), size)
        if summed and summed == list(range(rank - len(summed), rank)) and _meet(graph, source, weight.shape, columns):
            rows = [dim for dim in range(size) if dim not in columns]
            layer = _layer(graph, source, node.required("other"), columns=columns, rows=rows)
    return layer or operator("tensordot")(node, graph)


def _positions(dims: Value, rank: int) -> list[int]:
    """Dimensions counted from the front; none where they are no numbers."""
    numbers = [dim for dim in dims if isinstance(dim, int)] if isinstance(dims, list) else []
    return [dim % rank for dim in numbers] if rank else []


def _contraction(graph: Graph, source: tuple[str, Value], weight: tuple[str, Value], result: str) -> Module | None:
    """The layer of an einsum of these terms and tensors, if it sums over the last dimensions of the source alone."""
    term, dims = source[0], weight[0]
    rows = [letter for letter in result if letter in dims]
    columns = [letter for letter in term if letter in dims]
    batch = term[: len(term) - len(columns)]
    fits = (term, result) == (batch + "".join(columns), batch + "".join(rows))
    letters = [*batch, *columns, *rows]
    if not fits or len(set(letters)) < len(letters) or sorted(dims) != sorted(columns + rows):
        return None
    places = [*map(dims.index, columns)]
    owner = graph.weight(weight[1])
    if not isinstance(source[1], Ref) or owner is None or not _meet(graph, source[1], owner.shape, places):
        return None
    return _layer(graph, source[1], weight[1], columns=places, rows=[*map(dims.index, rows)])


def _meet(graph: Graph, source: Ref, sizes: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether the last sizes of `source` are those of the columns: einsum and tensordot also take 1 for any."""
    last = graph.meta(source).sizes[-len(columns) :] if columns else ()
    return all(found.as_int in {sizes[column], None} for found, column in zip(last, columns, strict=False))


def _layer(
    graph: Graph, source: Value, weight: Value, *, columns: Sequence[int], rows: Sequence[int], bias: Value = None
) -> Module | None:
    """The linear layer that sums over the last dimensions of `source` and `columns` of the weight, and gives `rows`."""
    owner, offset = graph.weight(weight), graph.weight(bias)
    if not isinstance(source, Ref) or not isinstance(weight, Ref) or owner is None or owner.kind != "parameter":
        return None
    # A product of weights is a weight itself; and a layer takes no single vector.
    if graph.weight(source) or sorted([*columns, *rows]) != list(range(len(owner.shape))) or not (columns and rows):
        return None
    if graph.rank(source) <= len(columns):
        return None
    sizes = tuple(owner.shape[row] for row in rows)
    if bias is not None and (offset is None or offset.shape != sizes):
        return None
    weights = {"weight": graph.matrix(weight, rows, columns)}
    if isinstance(bias, Ref):
        weights["bias"] = bias
    options = {
        "in_features": prod(owner.shape[column] for column in columns),
        "out_features": prod(sizes),
        "bias": "bias" in weights,
    }
    flat = Function("torch.flatten", (source, -len(columns))) if len(columns) > 1 else source
    then: tuple[str, tuple[Value, ...]] | None = ("unflatten", (-1, sizes)) if len(sizes) > 1 else None
    return Module("Linear", options, weights, (flat,), then=then)


OPS: dict[str, Rebuild] = {
    "matmul": product("torch.matmul", "self", "other"),
    "linalg_matmul": product("torch.matmul", "self", "other"),
    "mm": product("torch.mm", "self", "mat2"),
    "bmm": function("torch.bmm"),
    "addmm": affine,
    "baddbmm": function("torch.baddbmm"),
    "matrix_exp": leaf("matrix_exp"),
    "linalg_matrix_exp": leaf("matrix_exp"),
    "einsum": einsum,
    "tensordot": tensordot,
    **operators("dot vdot mv inner outer ger kron cross linalg_cross linalg_vecdot chain_matmul"),
    **operators("addmv addr addbmm linalg_multi_dot matrix_power linalg_matrix_power linalg_vander vander trace"),
    # decompositions and solutions
    **operators("det linalg_det logdet slogdet linalg_slogdet inverse linalg_inv linalg_inv_ex pinverse"),
    **operators("linalg_pinv linalg_pinv.atol_rtol_float linalg_pinv.atol_rtol_tensor linalg_matrix_rank"),
    **operators("linalg_matrix_rank.atol_rtol_float linalg_matrix_rank.atol_rtol_tensor"),
    **operators("linalg_cholesky linalg_cholesky_ex cholesky cholesky_inverse cholesky_solve linalg_qr qr"),
    **operators("linalg_solve linalg_solve_ex linalg_solve_triangular triangular_solve linalg_lu"),
    **operators("linalg_lu_factor linalg_lu_factor_ex linalg_lu_solve lu_solve linalg_svd linalg_svdvals svd"),
    **operators("linalg_eigh linalg_eigvalsh"),
    "linalg_eig": leaf("linalg_eig"),
    "linalg_eigvals": leaf("linalg_eigvals"),
    **operators("linalg_norm linalg_norm.ord_str linalg_matrix_norm linalg_matrix_norm.str_ord"),
    **operators("linalg_cond linalg_cond.p_str linalg_tensorinv linalg_tensorsolve linalg_householder_product"),
    **operators("linalg_diagonal _weight_norm"),
}

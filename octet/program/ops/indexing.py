"""Operators that read or write at places which are themselves values.

Where the number of places depends on the values (`x[mask]`, `nonzero`), the size stays open in the program as it is in
the export.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.program.ops.rows import Rebuild, function, operator, operators
from octet.program.steps import Expression, Function

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node


def take_along(node: Node, graph: Graph) -> Expression:
    """`take_along_dim(self, indices, dim=None)`."""
    if node.args.get("dim") is None:
        return Function("octet.program.leaves.take_flat", (node.ref("self"), node.ref("indices")))
    return operator("take_along_dim")(node, graph)


def fill_diagonal(node: Node, _: Graph) -> Expression:
    """`fill_diagonal_(self, fill_value, wrap=False)`."""
    fill = node.required("fill_value")
    values = (node.ref("self"), float(fill) if isinstance(fill, int) else fill, node.args.get("wrap", False))
    return Function("octet.program.leaves.fill_diagonal", values)


OPS: dict[str, Rebuild] = {
    "take_along_dim": take_along,
    "select.int": function("torch.select"),
    "narrow": function("torch.narrow"),
    "slice.Tensor": function("torch.ops.aten.slice"),
    "index_select": function("torch.index_select"),
    "gather": function("torch.gather"),
    "index.Tensor": operator("index"),
    "repeat_interleave.self_int": function("torch.repeat_interleave"),
    **operators("narrow.Tensor narrow_copy take _unsafe_index.Tensor"),
    **operators("repeat_interleave.self_Tensor repeat_interleave.Tensor"),
    # written
    **operators("scatter.src scatter.value scatter.reduce scatter.value_reduce scatter_add scatter_reduce.two"),
    **operators("index_add index_copy index_fill.int_Scalar index_fill.int_Tensor index_reduce index_put put"),
    **operators("_unsafe_index_put masked_scatter slice_scatter select_scatter diagonal_scatter as_strided_scatter"),
    **operators("fill.Scalar fill.Tensor zero copy"),
    "fill_diagonal": fill_diagonal,
    # found
    **operators("searchsorted.Tensor searchsorted.Scalar bucketize.Tensor bucketize.Scalar one_hot"),
    **operators("nonzero nonzero_numpy argwhere where masked_select nonzero_static"),
    **operators("unique_dim unique_consecutive _unique _unique2"),
}

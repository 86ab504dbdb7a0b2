"""Operators that move values without changing them.

Where the graph names a size, that size is a value of the program: the batch stays open.
"""

from __future__ import annotations

from octet.errors import UnsupportedOperatorError
from octet.program.graph import DType, Graph, Node, dtype
from octet.program.ops.rows import Rebuild, function, listed, method, operators, same
from octet.program.ops.views import lies_in_one_piece
from octet.program.steps import Expression, Function, Method, Same


def sized(name: str, argument: str) -> Rebuild:
    """A method that takes the sizes of `argument` one by one, as tracing them a second time needs."""

    def rebuild(node: Node, _: Graph) -> Expression:
        sizes = listed(node, argument)
        return Method(name, (node.ref("self"), *(sizes or [sizes])))  # a scalar has none, and takes them as a list

    return rebuild


def expand(node: Node, _: Graph) -> Expression:
    """`expand(self, size)`; of a buffer, a trace takes open sizes only as a list."""
    return Method("expand", (node.ref("self"), listed(node, "size")))


def transpose_matrix(node: Node, graph: Graph) -> Expression:
    """`t(self)`, which leaves a vector as it is."""
    value = node.ref("self")
    return Method("transpose", (value, 0, 1)) if graph.rank(value) == 2 else Same(value)  # noqa: PLR2004 - a matrix


def reversed_dimensions(node: Node, graph: Graph) -> Expression:
    """`numpy_T(self)`, `x.T`."""
    value = node.ref("self")
    return Method("permute", (value, *reversed(range(graph.rank(value)))))


def contiguous(node: Node, _: Graph) -> Expression:
    """`contiguous(self)`; another memory format is a matter of speed that the engine decides."""
    return Method("contiguous", (node.ref("self"),))


def strided(node: Node, graph: Graph) -> Expression:
    """`as_strided(self, size, stride, storage_offset)` of a tensor whose memory lies as its sizes say."""
    value = node.ref("self")
    meta = graph.meta(value)
    if lies_in_one_piece(meta) is not True or meta.storage_offset.as_int != 0:
        raise UnsupportedOperatorError(
            f"{node} reads memory by its place, of a tensor that does not lie in one piece.",
            hint="Write that line with unfold, slices or indices, or call .contiguous() before it.",
        )
    sizes, strides = listed(node, "size"), listed(node, "stride")
    offset = node.args.get("storage_offset") or 0
    return Function("octet.program.leaves.as_strided", (value, sizes, strides, offset))


def convert(node: Node, graph: Graph) -> Expression:
    """`to`, `_to_copy`: a change of dtype; one of device or memory format alone is none."""
    value, wanted = node.ref("self"), node.args.get("dtype")
    if not isinstance(wanted, DType) or wanted.name == dtype(graph.meta(value).dtype, value.name):
        return Same(value)
    return Method("to", (value, wanted))


OPS: dict[str, Rebuild] = {
    # shape
    "view": sized("reshape", "size"),
    "reshape": sized("reshape", "shape"),
    "_unsafe_view": sized("reshape", "size"),
    "expand": expand,
    "broadcast_to": expand,
    "repeat": sized("repeat", "repeats"),
    "tile": sized("tile", "dims"),
    "view_as": method("reshape_as"),
    "reshape_as": method("reshape_as"),
    "expand_as": method("expand_as"),
    "flatten.using_ints": function("torch.flatten"),
    "unflatten.int": method("unflatten"),
    "unsqueeze": method("unsqueeze"),
    "squeeze": method("squeeze"),
    "squeeze.dim": method("squeeze"),
    "squeeze.dims": method("squeeze"),
    "as_strided": strided,
    **operators("ravel atleast_1d atleast_2d atleast_3d broadcast_tensors unfold diag_embed diagonal diag diagflat"),
    **operators("atleast_1d.Sequence atleast_2d.Sequence atleast_3d.Sequence"),
    # order
    "permute": method("permute"),
    "transpose.int": method("transpose"),
    "swapaxes": method("transpose"),
    "swapdims": method("transpose"),
    "t": transpose_matrix,
    "numpy_T": reversed_dimensions,
    "mT": lambda node, _: Method("transpose", (node.ref("self"), -2, -1)),
    "movedim.intlist": function("torch.movedim"),
    "movedim.int": function("torch.movedim"),
    "moveaxis.intlist": function("torch.movedim"),
    "moveaxis.int": function("torch.movedim"),
    "flip": function("torch.flip"),
    "roll": function("torch.roll"),
    "pixel_shuffle": function("torch.pixel_shuffle"),
    "channel_shuffle": function("torch.channel_shuffle"),
    "contiguous": contiguous,
    **operators("fliplr flipud rot90 native_channel_shuffle tril triu"),
    # joined and parted
    "cat": function("torch.cat"),
    "concat": function("torch.cat"),
    "concatenate": function("torch.cat"),
    "stack": function("torch.stack"),
    "chunk": function("torch.chunk"),
    "split.Tensor": function("torch.split"),
    "split.sizes": function("torch.split"),
    "split_with_sizes": function("torch.split"),
    "unbind.int": function("torch.unbind"),
    **operators("unsafe_chunk unsafe_split.Tensor unsafe_split_with_sizes tensor_split.sections tensor_split.indices"),
    **operators("hsplit.int hsplit.array vsplit.int vsplit.array dsplit.int dsplit.array"),
    **operators("hstack vstack row_stack dstack column_stack block_diag cartesian_prod meshgrid"),
    **operators("meshgrid.indexing constant_pad_nd im2col col2im"),
    # copies and conversions
    "clone": same,
    "detach": same,
    "alias": same,
    "lift_fresh_copy": same,
    "to.device": convert,
    "to.dtype": convert,
    "to.dtype_layout": convert,
    "_to_copy": convert,
    "to.other": lambda node, _: Method("type_as", (node.ref("self"), node.ref("other"))),
    "type_as": method("type_as"),
}

"""Operators that move values without changing them, and those that make values out of sizes.

Where the graph names a size, that size is a value of the program: the batch stays open.
"""

from __future__ import annotations

from octet.errors import InvalidModelError
from octet.program.graph import DType, Graph, Node, Ref, Value, dtype
from octet.program.ops.rows import Rebuild, function, method, operator, same
from octet.program.steps import Expression, Function, Method, Same

# Operators whose result can share memory with their first argument; dropout and `to` give it back when they have
# nothing to do.
VIEWS = frozenset(
    {
        "alias", "chunk", "contiguous", "detach", "dropout", "expand", "feature_dropout", "flatten.using_ints",
        "movedim.intlist", "narrow", "permute", "reshape", "select.int", "slice.Tensor", "split.Tensor",
        "split_with_sizes", "squeeze", "squeeze.dim", "squeeze.dims", "t", "to.device", "to.dtype",
        "to.dtype_layout", "transpose.int", "unbind.int", "unflatten.int", "unsqueeze", "view", "view_as",
        "expand_as",
    }
)  # fmt: skip


def sized(name: str, argument: str) -> Rebuild:
    """A method that takes the sizes of `argument` one by one, as tracing them a second time needs."""

    def rebuild(node: Node, _: Graph) -> Expression:
        sizes = node.required(argument)
        if not isinstance(sizes, list):
            raise InvalidModelError(f"{node.target} in module {node.module!r}: argument {argument!r} is not a shape.")
        return Method(name, (node.ref("self"), *sizes))

    return rebuild


def transpose_matrix(node: Node, graph: Graph) -> Expression:
    """`t(self)`, which leaves a vector as it is."""
    value = node.ref("self")
    return Method("transpose", (value, 0, 1)) if graph.rank(value) == 2 else Same(value)  # noqa: PLR2004 - a matrix


def contiguous(node: Node, _: Graph) -> Expression:
    """`contiguous(self)`; another memory format is a matter of speed that the engine decides."""
    return Method("contiguous", (node.ref("self"),))


def convert(node: Node, graph: Graph) -> Expression:
    """`to`, `_to_copy`: a change of dtype; one of device or memory format alone is none."""
    value, wanted = node.ref("self"), node.args.get("dtype")
    if not isinstance(wanted, DType) or wanted.name == dtype(graph.meta(value).dtype, value.name):
        return Same(value)
    return Method("to", (value, wanted))


def filled(value: float) -> Rebuild:
    """`zeros`, `ones`: a tensor of one value, made where the program's input is."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        return _full(node, graph, value)

    return rebuild


def full(node: Node, graph: Graph) -> Expression:
    """`full(size, fill_value)`."""
    return _full(node, graph, node.required("fill_value"))


def scalar(node: Node, graph: Graph) -> Expression:
    """`scalar_tensor(s)`."""
    return Method(
        "new_full", (_anchor(graph), [], node.required("s")), {"dtype": node.args.get("dtype") or DType("float32")}
    )


def arange(node: Node, graph: Graph) -> Expression:
    """`arange(start=0, end, step=1)`; integers unless it is given a float."""
    bounds = [node.args.get("start", 0), node.required("end"), node.args.get("step", 1)]
    kind, leaf = DType("int64"), "arange"
    if any(isinstance(bound, float) for bound in bounds):
        kind, leaf = DType("float32"), "arange_of_floats"
        bounds = [float(bound) if isinstance(bound, int) else bound for bound in bounds]
    return Function(f"octet.program.leaves.{leaf}", (_anchor(graph), *bounds, node.args.get("dtype") or kind))


def _full(node: Node, graph: Graph, value: Value) -> Expression:
    default = {bool: "bool", int: "int64"}.get(type(value), "float32")
    kind = node.args.get("dtype") or DType(default)
    return Method("new_full", (_anchor(graph), node.required("size"), value), {"dtype": kind})


def _anchor(graph: Graph) -> Ref:
    """A tensor to make others beside: on its device, and with a method that can be traced with open sizes."""
    return Ref(graph.inputs[0])


OPS: dict[str, Rebuild] = {
    # shape
    "view": sized("reshape", "size"),
    "reshape": sized("reshape", "shape"),
    "_unsafe_view": sized("reshape", "size"),
    "expand": sized("expand", "size"),
    "repeat": sized("repeat", "repeats"),
    "view_as": method("reshape_as"),
    "expand_as": method("expand_as"),
    "flatten.using_ints": function("torch.flatten"),
    "unflatten.int": method("unflatten"),
    "unsqueeze": method("unsqueeze"),
    "squeeze": method("squeeze"),
    "squeeze.dim": method("squeeze"),
    "squeeze.dims": method("squeeze"),
    # order
    "permute": method("permute"),
    "transpose.int": method("transpose"),
    "t": transpose_matrix,
    "numpy_T": transpose_matrix,
    "mT": lambda node, _: Method("transpose", (node.ref("self"), -2, -1)),
    "movedim.intlist": function("torch.movedim"),
    "movedim.int": function("torch.movedim"),
    "flip": function("torch.flip"),
    "roll": function("torch.roll"),
    "pixel_shuffle": function("torch.pixel_shuffle"),
    "channel_shuffle": function("torch.channel_shuffle"),
    "contiguous": contiguous,
    # parts
    "cat": function("torch.cat"),
    "stack": function("torch.stack"),
    "chunk": function("torch.chunk"),
    "split.Tensor": function("torch.split"),
    "split_with_sizes": function("torch.split"),
    "unbind.int": function("torch.unbind"),
    "select.int": function("torch.select"),
    "narrow": function("torch.narrow"),
    "slice.Tensor": function("torch.ops.aten.slice"),
    "index_select": function("torch.index_select"),
    "gather": function("torch.gather"),
    "index.Tensor": operator("index"),
    "repeat_interleave.self_int": function("torch.repeat_interleave"),
    "tril": function("torch.tril"),
    "triu": function("torch.triu"),
    # copies and conversions
    "clone": same,
    "detach": same,
    "alias": same,
    "lift_fresh_copy": same,
    "to.device": convert,
    "to.dtype": convert,
    "to.dtype_layout": convert,
    "_to_copy": convert,
    "type_as": method("type_as"),
    # new tensors
    "zeros": filled(0.0),
    "new_zeros": filled(0.0),
    "ones": filled(1.0),
    "new_ones": filled(1.0),
    "full": full,
    "new_full": full,
    "scalar_tensor": scalar,
    "zeros_like": function("torch.zeros_like"),
    "ones_like": function("torch.ones_like"),
    "full_like": function("torch.full_like"),
    "arange": arange,
    "arange.start": arange,
    "arange.start_step": arange,
}

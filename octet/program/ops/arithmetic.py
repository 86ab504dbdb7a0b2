"""Arithmetic, comparison, reduction and products, as the torch functions whose patterns FX knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.program.ops.rows import Rebuild, function, operator

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node, Value
    from octet.program.steps import Expression

_PARTS = frozenset({"aten.slice.Tensor", "aten.select.int", "aten.unsqueeze.default", "aten.expand.default"})


def add(node: Node, graph: Graph) -> Expression:
    """`add(self, other)`; in float where a buffer is added.

    Such a buffer is an attention mask or a table. FX would quantize the sum, and a mask's infinity has no place in any
    range of eight bits.
    """
    fixed = any(_is_buffer(node.args.get(name), graph) for name in ("self", "other"))
    return (operator if fixed else _torch)("add")(node, graph)


def _torch(name: str) -> Rebuild:
    return function(f"torch.{name}")


def _is_buffer(value: Value, graph: Graph) -> bool:
    """Whether a value is a buffer or a constant, or a part of one."""
    while (maker := graph.producer(value)) is not None and maker.target in _PARTS:
        value = maker.args.get("self")
    weight = graph.weight(value)
    return weight is not None and weight.kind != "parameter"


_BINARY = ("sub", "mul", "div", "rsub", "eq", "ne", "gt", "ge", "lt", "le", "remainder")
_UNARY = (
    "abs", "ceil", "cos", "erf", "exp", "floor", "log", "logical_not", "bitwise_not", "neg", "reciprocal", "round",
    "rsqrt", "sign", "sin", "sqrt", "square",
)  # fmt: skip

OPS: dict[str, Rebuild] = {
    **{f"{name}.{other}": function(f"torch.{name}") for name in _BINARY for other in ("Tensor", "Scalar")},
    **{name: function(f"torch.{name}") for name in _UNARY},
    "add.Tensor": add,
    "add.Scalar": add,
    "div.Tensor_mode": function("torch.div"),
    "floor_divide": function("torch.floor_divide"),
    "pow.Tensor_Scalar": function("torch.pow"),
    "pow.Tensor_Tensor": function("torch.pow"),
    "pow.Scalar": function("torch.pow"),
    "maximum": function("torch.maximum"),
    "minimum": function("torch.minimum"),
    "clamp": function("torch.clamp"),
    "clamp_min": function("torch.clamp_min"),
    "clamp_max": function("torch.clamp_max"),
    "logical_and": function("torch.logical_and"),
    "logical_or": function("torch.logical_or"),
    "bitwise_and.Tensor": function("torch.bitwise_and"),
    "bitwise_or.Tensor": function("torch.bitwise_or"),
    "__and__.Tensor": function("torch.bitwise_and"),
    "__or__.Tensor": function("torch.bitwise_or"),
    "where.self": function("torch.where"),
    "where.ScalarOther": function("torch.where"),
    "where.ScalarSelf": function("torch.where"),
    "masked_fill.Scalar": function("torch.masked_fill"),
    "masked_fill.Tensor": function("torch.masked_fill"),
    "mean": function("torch.mean"),
    "mean.dim": function("torch.mean"),
    "sum": function("torch.sum"),
    "sum.dim_IntList": function("torch.sum"),
    "max": function("torch.max"),
    "max.dim": function("torch.max"),
    "min": function("torch.min"),
    "min.dim": function("torch.min"),
    "amax": function("torch.amax"),
    "amin": function("torch.amin"),
    "argmax": function("torch.argmax"),
    "argmin": function("torch.argmin"),
    "all": function("torch.all"),
    "all.dim": function("torch.all"),
    "any": function("torch.any"),
    "any.dim": function("torch.any"),
    "cumsum": function("torch.cumsum"),
    "var.dim": function("torch.var"),
    "std.dim": function("torch.std"),
    "var.correction": function("torch.var"),
    "std.correction": function("torch.std"),
    "logsumexp": function("torch.logsumexp"),
    "topk": function("torch.topk"),
    "linalg_vector_norm": function("torch.linalg.vector_norm"),
    "matmul": function("torch.matmul"),
    "mm": function("torch.mm"),
    "bmm": function("torch.bmm"),
    "addmm": function("torch.addmm"),
    "baddbmm": function("torch.baddbmm"),
    "einsum": function("torch.einsum"),
    "scaled_dot_product_attention": function("torch.nn.functional.scaled_dot_product_attention"),
}

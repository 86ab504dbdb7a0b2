"""Arithmetic, comparison, reduction and products, as the torch functions whose patterns FX knows."""

from __future__ import annotations

from octet.program.ops.rows import Rebuild, function

_BINARY = ("add", "sub", "mul", "div", "rsub", "eq", "ne", "gt", "ge", "lt", "le", "remainder")
_UNARY = (
    "abs", "ceil", "cos", "erf", "exp", "floor", "log", "logical_not", "bitwise_not", "neg", "reciprocal", "round",
    "rsqrt", "sign", "sin", "sqrt", "square",
)  # fmt: skip

OPS: dict[str, Rebuild] = {
    **{f"{name}.{other}": function(f"torch.{name}") for name in _BINARY for other in ("Tensor", "Scalar")},
    **{name: function(f"torch.{name}") for name in _UNARY},
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
    "var.correction": function("torch.var"),
    "std.correction": function("torch.std"),
    "linalg_vector_norm": function("torch.linalg.vector_norm"),
    "matmul": function("torch.matmul"),
    "mm": function("torch.mm"),
    "bmm": function("torch.bmm"),
    "addmm": function("torch.addmm"),
    "baddbmm": function("torch.baddbmm"),
    "einsum": function("torch.einsum"),
    "scaled_dot_product_attention": function("torch.nn.functional.scaled_dot_product_attention"),
}

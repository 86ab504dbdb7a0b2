"""Arithmetic on sizes, numbers out of tensors, and the checks that torch.export leaves on both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.errors import UnsupportedOperatorError
from octet.program.graph import dtype
from octet.program.ops.rows import Rebuild, function, leaf, method, nothing
from octet.program.steps import Expression, Function

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node

_NUMBERS = {
    **dict.fromkeys(("uint8", "int8", "int16", "int32", "int64"), "int_of"),
    **dict.fromkeys(("float32", "float64"), "float_of"),
    "bool": "bool_of",
}


def item(node: Node, graph: Graph) -> Expression:
    """`item(self)`: a number that depends on the data, of the type that TorchScript has to know beforehand."""
    value = node.ref("self")
    kind = dtype(graph.meta(value).dtype, value.name)
    if kind not in _NUMBERS:
        raise UnsupportedOperatorError(f"{node} makes a number of a {kind} tensor, for which there is no type.")
    return Function(f"octet.program.leaves.{_NUMBERS[kind]}", (value,))


OPS: dict[str, Rebuild] = {
    "aten.sym_size.int": method("size"),
    "aten.sym_numel": method("numel"),
    "aten.item": item,
    "aten._local_scalar_dense": item,
    **{
        f"_operator.{name}": function(f"operator.{name}")
        for name in (
            "add", "sub", "mul", "truediv", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge", "and_", "or_",
            "lshift", "rshift",
        )
    },
    "_operator.pos": function("operator.pos"),
    "_operator.pow": leaf("power"),
    "torch.sym_max": leaf("larger"),
    "torch.sym_min": leaf("smaller"),
    "torch.sym_ite": leaf("choice"),
    "torch.sym_not": leaf("negation"),
    "torch.sym_int": leaf("as_int"),
    "torch.sym_float": leaf("as_float"),
    "torch._sym_sqrt": leaf("square_root"),
    "math.trunc": leaf("as_int"),
    **dict.fromkeys(
        (
            "aten._assert_scalar", "aten._assert_async", "aten._assert_async.msg",
            "aten.promote_types", "aten._assert_tensor_metadata",
            "aten.sym_constrain_range", "aten.sym_constrain_range_for_size",
        ),
        nothing,
    ),
}  # fmt: skip

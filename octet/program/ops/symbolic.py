"""Arithmetic on sizes, and the checks that torch.export leaves on them."""

from __future__ import annotations

from octet.program.ops.rows import Rebuild, function, method, nothing

OPS: dict[str, Rebuild] = {
    "aten.sym_size.int": method("size"),
    "aten.sym_numel": method("numel"),
    **{
        f"_operator.{name}": function(f"operator.{name}")
        for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
    },
    "torch.sym_max": function("builtins.max"),
    "torch.sym_min": function("builtins.min"),
    "aten._assert_scalar": nothing,
    "aten._assert_async.msg": nothing,
    "aten._assert_tensor_metadata": nothing,
    "aten.sym_constrain_range": nothing,
    "aten.sym_constrain_range_for_size": nothing,
}

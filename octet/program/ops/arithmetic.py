"""Elementwise arithmetic, comparison and special functions.

Those whose quantized form FX knows come back as the torch functions it looks for; the others as the operators they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.program.graph import Ref
from octet.program.ops.rows import Rebuild, function, operators, result_dtype
from octet.program.steps import Expression, Function

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node

_BINARY = ("add", "sub", "mul", "div", "rsub", "eq", "ne", "gt", "ge", "lt", "le", "remainder")
_UNARY = (
    "abs", "ceil", "cos", "erf", "exp", "floor", "log", "logical_not", "bitwise_not", "neg", "reciprocal", "round",
    "rsqrt", "sign", "sin", "sqrt", "square",
)  # fmt: skip

# Other names of the same: torch.export keeps the one that the source uses.
_ALIASES = {
    "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div", "not_equal": "ne", "greater": "gt",
    "greater_equal": "ge", "less": "lt", "less_equal": "le",
}  # fmt: skip
_UNARY_ALIASES = {"absolute": "abs", "negative": "neg", "special_erf": "erf", "special_expit": "sigmoid"}


def division(name: str) -> Rebuild:
    """`div.Tensor_mode(self, other, rounding_mode)`, `floor_divide(self, other)`: of a tensor, a number or a size."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        divided = node.required("self")
        if isinstance(divided, Ref) and divided.name in graph.metas:
            return function(name)(node, graph)
        values = (divided, node.ref("other"), node.args.get("rounding_mode", "floor"), result_dtype(node, graph))
        return Function("octet.program.leaves.divided", values)

    return rebuild


OPS: dict[str, Rebuild] = {
    **{f"{name}.{other}": function(f"torch.{name}") for name in _BINARY for other in ("Tensor", "Scalar")},
    **{
        f"{alias}.{other}": function(f"torch.{name}")
        for alias, name in _ALIASES.items()
        for other in ("Tensor", "Scalar")
    },
    **{name: function(f"torch.{name}") for name in _UNARY},
    **{alias: function(f"torch.{name}") for alias, name in _UNARY_ALIASES.items()},
    "div.Tensor_mode": division("torch.div"),
    "div.Scalar_mode": function("torch.div"),
    "divide.Tensor_mode": division("torch.div"),
    "divide.Scalar_mode": function("torch.div"),
    "floor_divide": division("torch.floor_divide"),
    "floor_divide.Scalar": function("torch.floor_divide"),
    "pow.Tensor_Scalar": function("torch.pow"),
    "pow.Tensor_Tensor": function("torch.pow"),
    "pow.Scalar": function("torch.pow"),
    "maximum": function("torch.maximum"),
    "minimum": function("torch.minimum"),
    "clamp": function("torch.clamp"),
    "clip": function("torch.clamp"),
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
    **operators("where.Scalar clamp.Tensor clip.Tensor clamp_min.Tensor clamp_max.Tensor remainder.Scalar_Tensor"),
    # trigonometric and hyperbolic
    **operators("acos acosh asin asinh atan atanh cosh sinh tan sinc deg2rad rad2deg atan2 hypot"),
    **operators("arccos arccosh arcsin arcsinh arctan arctanh arctan2"),
    # exponentials and logarithms
    **operators("exp2 expm1 log10 log1p log2 logaddexp logaddexp2 xlogy.Tensor xlogy.Scalar_Other xlogy.Scalar_Self"),
    **operators("ldexp.Tensor logit"),
    # rounding and signs
    **operators("trunc fix frac round.decimals sgn positive copysign.Tensor copysign.Scalar nextafter frexp.Tensor"),
    **operators("fmod.Tensor fmod.Scalar heaviside fmax fmin max.other min.other gcd lcm"),
    **operators("float_power.Tensor_Tensor float_power.Tensor_Scalar float_power.Scalar"),
    # several at once
    **operators("lerp.Tensor lerp.Scalar addcmul addcdiv"),
    # tests
    **operators("isnan isinf isfinite isneginf isposinf isreal signbit isclose nan_to_num logical_xor"),
    **operators("isin.Tensor_Tensor isin.Tensor_Scalar isin.Scalar_Tensor"),
    # bits
    **operators("bitwise_xor.Tensor __xor__.Tensor __lshift__.Tensor __rshift__.Tensor"),
    **operators("bitwise_and.Scalar bitwise_or.Scalar bitwise_xor.Scalar __and__.Scalar __or__.Scalar __xor__.Scalar"),
    **operators("bitwise_and.Scalar_Tensor bitwise_or.Scalar_Tensor bitwise_xor.Scalar_Tensor"),
    **operators("bitwise_left_shift.Tensor bitwise_left_shift.Tensor_Scalar bitwise_left_shift.Scalar_Tensor"),
    **operators("bitwise_right_shift.Tensor bitwise_right_shift.Tensor_Scalar bitwise_right_shift.Scalar_Tensor"),
    **operators("__lshift__.Scalar __rshift__.Scalar"),
    # special functions
    **operators("erfc erfinv lgamma digamma polygamma mvlgamma igamma igammac i0"),
    **operators("special_entr special_erfc special_erfcx special_erfinv special_exp2 special_expm1 special_log1p"),
    **operators("special_gammaln special_digamma special_psi special_polygamma special_multigammaln special_gammainc"),
    **operators("special_gammaincc special_i0 special_i0e special_i1 special_i1e special_log_ndtr special_ndtr"),
    **operators("special_ndtri special_logit special_sinc special_round special_xlog1py special_xlogy special_zeta"),
    **operators("special_xlog1py.other_scalar special_xlog1py.self_scalar special_xlogy.other_scalar"),
    **operators("special_xlogy.self_scalar special_zeta.other_scalar special_zeta.self_scalar"),
    **operators("special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1 special_airy_ai"),
    **operators("special_modified_bessel_i0 special_modified_bessel_i1 special_modified_bessel_k0"),
    **operators("special_modified_bessel_k1 special_spherical_bessel_j0"),
}

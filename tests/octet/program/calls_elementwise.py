"""Calls of elementwise operators: arithmetic, comparison, bits, special functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from operator_calls import each, itself, number, positive, small, unit, whole

CALLS = {
    "activations": lambda x: (
        F.selu(x) + F.celu(x, 1.5) + F.softplus(x, 2.0) + F.logsigmoid(x) + F.hardtanh(x, -2.0, 0.5),
        F.glu(x, 2),
        F.softshrink(x, 0.3) + F.hardshrink(x) + F.threshold(x, 0.1, -1.0) + F.rrelu(x) + F.tanhshrink(x),
    ),
    "dropouts": lambda x: F.alpha_dropout(
        F.dropout2d(F.dropout(x, 0.3, training=False), training=False), training=False
    ),
    "unary": each(torch, "abs ceil cos erf exp floor neg round sign sin square absolute negative positive", itself),
    "unary of positives": each(torch, "log reciprocal rsqrt sqrt log10 log1p log2 lgamma digamma", positive),
    "trigonometric": each(
        torch, "atan asinh sinh cosh tan tanh sinc deg2rad rad2deg arctan arcsinh exp2 expm1 trunc fix frac sgn", itself
    ),
    "inverse functions": each(torch, "acos asin atanh arccos arcsin arctanh erfinv logit", unit),
    "hyperbolic": lambda x: (torch.acosh(positive(x) + 1), torch.arccosh(positive(x) + 1), torch.erfc(x), torch.i0(x)),
    "tests": each(torch, "isnan isinf isfinite isneginf isposinf isreal signbit logical_not nan_to_num", itself),
    "special functions": each(
        torch.special,
        "entr erf erfc erfcx erfinv exp2 expit expm1 log1p gammaln digamma psi i0 i0e i1 i1e log_ndtr ndtr ndtri logit "
        "sinc round bessel_j0 bessel_j1 bessel_y0 bessel_y1 airy_ai modified_bessel_i0 modified_bessel_i1 "
        "modified_bessel_k0 modified_bessel_k1 spherical_bessel_j0",
        unit,
    ),
    "special functions of two": lambda x: (
        *each(torch.special, "xlog1py xlogy", itself, positive)(x),
        *each(torch.special, "xlog1py xlogy", number(2.0), positive)(x),
        *each(torch.special, "xlog1py xlogy", itself, number(2.0))(x),
        *each(torch.special, "gammainc gammaincc", positive, unit)(x),
        torch.special.zeta(positive(x) + 1, positive(x)),
        torch.special.zeta(3.0, positive(x)),
        torch.special.zeta(positive(x) + 1, 2.0),
        torch.special.polygamma(2, unit(x)),
        torch.special.multigammaln(positive(x) + 3, 2),
        torch.polygamma(1, positive(x)),
        torch.mvlgamma(positive(x) + 3, 2),
    ),
    "binary": each(
        torch,
        "add sub mul maximum minimum atan2 arctan2 hypot logaddexp logaddexp2 copysign fmax fmin max min subtract "
        "multiply rsub",
        itself,
        positive,
    ),
    "binary of positives": each(
        torch,
        "div pow remainder fmod floor_divide divide true_divide xlogy float_power igamma igammac nextafter",
        positive,
        positive,
    ),
    "binary with a number": each(
        torch,
        "add sub mul div rsub pow remainder fmod floor_divide subtract multiply divide true_divide copysign xlogy "
        "float_power clamp_min clamp_max",
        positive,
        number(0.3),
    ),
    "binary with a number, as older files have it": lambda x: (
        *(
            getattr(torch.ops.aten, name).Scalar(x, 0.3)
            for name in ("add", "sub", "mul", "div", "subtract", "multiply", "divide", "true_divide", "floor_divide")
        ),
        torch.ops.aten.div.Scalar_mode(x, 0.3, rounding_mode="floor"),
        torch.ops.aten.divide.Scalar_mode(x, 0.3, rounding_mode="trunc"),
    ),
    "a number first": lambda x: (
        *each(torch, "pow xlogy float_power", number(2.0), positive)(x),
        torch.remainder(5, whole(x).abs() + 1),
        2 - x,
        2 / positive(x),
        2 // positive(x),
        torch.div(3, positive(x), rounding_mode="trunc"),
    ),
    "rounded division": lambda x: (
        torch.div(x, positive(x), rounding_mode="floor"),
        torch.div(x, 0.3, rounding_mode="trunc"),
        torch.divide(x, positive(x), rounding_mode="trunc"),
        torch.divide(x, 0.3, rounding_mode="floor"),
        x.round(decimals=1),
    ),
    "several at once": lambda x: (
        torch.lerp(x, x + 1, 0.3),
        torch.lerp(x, x + 1, unit(x)),
        torch.addcmul(x, x, x, value=0.5),
        torch.addcdiv(x, x, positive(x), value=0.5),
        tuple(torch.frexp(x)),
        torch.ldexp(x, whole(x)),
        torch.heaviside(x, x[0]),
        torch.add(x, x.exp(), alpha=0.5) + torch.sub(x, 1, alpha=3),
    ),
    "integers": lambda x: (*each(torch, "gcd lcm", whole, small)(x), whole(x) // 3, whole(x) % 5),
    "comparisons": lambda x: (
        *each(torch, "eq ne gt ge lt le not_equal greater greater_equal less less_equal", itself, unit)(x),
        *each(torch, "eq ne gt ge lt le not_equal greater greater_equal less less_equal", itself, number(0.5))(x),
        torch.isclose(x, x + 1e-9),
        torch.isin(small(x), torch.tensor([1, 2])),
        torch.isin(small(x), 3),
        torch.isin(3, small(x)),
    ),
    "logic": each(torch, "logical_and logical_or logical_xor", itself, lambda x: x > 0),
    "clamping": lambda x: (
        x.clamp(max=0.5) + x.clip(0, 1) + x.clip(min=x * 0.5) + x.clamp(x - 1, x + 1),
        *each(torch, "clamp_min clamp_max", itself, unit)(x),
    ),
    "choices": lambda x: (
        torch.where(x > 0, x, -x),
        torch.where(x > 0, x, 0.0),
        torch.where(x > 0, 1.0, x),
        torch.where(x > 0, 1.0, 2.0),
        x.masked_fill(x > 1, -1.0),
        x.masked_fill(x > 1, torch.tensor(2.0)),
    ),
    "bits": lambda x: (
        *each(torch, "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift", whole, small)(x),
        *each(torch, "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift", whole, number(3))(x),
        *each(torch, "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift", number(5), small)(x),
        torch.bitwise_not(whole(x)),
    ),
    "bits by sign": lambda x: (
        (x > 0) & (x < 1) | ~(x >= -1) ^ (x == 0),
        (whole(x) & 3) + (whole(x) | 4),
        (whole(x) ^ 1) << 2 >> 1,
        whole(x) << small(x) >> small(x),
    ),
}

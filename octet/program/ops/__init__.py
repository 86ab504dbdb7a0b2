"""THE operator table: which operators of an exported graph Octet takes, and how each is rebuilt.

A row is a target without ".default" and how it becomes a module, a function or a method. The in-place form of an
operator (`relu_`) is rebuilt as the operator itself (`relu`); who reads the overwritten value then reads the result.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from octet.program.ops import activations, arithmetic, layers, pooling, shapes, symbolic

if TYPE_CHECKING:
    from octet.program.ops.rows import Rebuild

OPS: dict[str, Rebuild] = {
    **{
        f"aten.{name}": rebuild
        for part in (layers, activations, pooling, arithmetic, shapes)
        for name, rebuild in part.OPS.items()
    },
    **symbolic.OPS,
}
VIEWS = frozenset(f"aten.{name}" for name in shapes.VIEWS)

RANDOM = frozenset(
    {
        "bernoulli", "binomial", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "normal", "poisson",
        "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "random", "uniform",
    }
)  # fmt: skip
"""Operators, less their overload, that give something else at each call."""

_IN_PLACE = re.compile(r"^(aten\.[a-z0-9_]*[a-z0-9])_(\..*)?$")


def canonical(target: str) -> str:
    """The key of a target: not in place, and without ".default"."""
    return _IN_PLACE.sub(r"\1\2", target).removesuffix(".default")


def in_place(target: str) -> bool:
    """Whether an operator overwrites its first argument."""
    return _IN_PLACE.match(target) is not None

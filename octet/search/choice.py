"""Which of the models that were tried is the one to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Measured:
    """What was found of a model.

    Attributes:
        loss: How much worse than fp32 it is, by the measure of the budget: lower is better.
        speedup: Ratio of latencies fp32 / int8.
        within: Whether it is inside the budget.
    """

    loss: float
    speedup: float
    within: bool


def better(one: Measured, other: Measured | None) -> bool:
    """Whether `one` is rather to be kept: inside the budget the faster model, outside of it the more accurate."""
    if other is None or one.within != other.within:
        return other is None or one.within
    return one.speedup > other.speedup if one.within else one.loss < other.loss


def on_pareto_front(measured: Sequence[Measured]) -> list[bool]:
    """For each, whether no other is at least as fast and as accurate, and better in one of the two."""
    return [not any(_dominates(other, one) for other in measured) for one in measured]


def _dominates(one: Measured, other: Measured) -> bool:
    no_worse = one.loss <= other.loss and one.speedup >= other.speedup
    return no_worse and (one.loss, one.speedup) != (other.loss, other.speedup)

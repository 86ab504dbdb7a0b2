"""How long a training still takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LEARNING = 3
"""Work of a batch that is learnt from, where one that is only run is 1: the way back is twice as long."""

_UNITS = ((5400.0, 3600.0, "h"), (90.0, 60.0, "min"), (0.0, 1.0, "s"))
"""From how many seconds on -> a unit, and its name."""


class Clock:
    """Tells how much of the work is done and, by the time it took so far, when all of it will be."""

    def __init__(self, work: int, tell: Callable[[float, str], None]) -> None:
        self._work, self._tell = work, tell
        self._before = self._done = 0
        self._start = time.perf_counter()

    def skip(self, work: int) -> None:
        """Counts work that was done at another time."""
        self._before = self._done = work

    def advance(self, work: int, message: str) -> None:
        """Counts work done now, and tells of it."""
        self._done += work
        spent = time.perf_counter() - self._start
        left = spent * (self._work - self._done) / (self._done - self._before)
        self._tell(self._done / self._work, f"{message}, {in_words(left)}")


def in_words(seconds: float) -> str:
    """A duration as people say it.

    Example:
        >>> in_words(170.0)
        'about 3 min left'
    """
    size, name = next((size, name) for least, size, name in _UNITS if seconds >= least)
    return f"about {max(1, round(seconds / size))} {name} left"

"""Progress of a job, from the shares of its stages, and the time each took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from octet.errors import TimedOutError
from octet.progress import OnProgress, Progress, Stage

if TYPE_CHECKING:
    from octet.recipe import Recipe

# How long stages take next to each other, by experience. Training is nearly all of a QAT job.
_SHARES: dict[Stage, float] = {
    "load": 2,
    "prepare": 5,
    "calibrate": 15,
    "train": 150,
    "convert": 8,
    "measure": 50,
    "save": 5,
    "verify": 15,
}
_SEARCH: dict[Stage, float] = _SHARES | {"prepare": 500}
"""A search makes all of its models before the one that is kept is measured."""
_LEAST_STEP = 0.002
"""Progress that is told; less is kept back, so that a listener is not called for every sample."""


class Stages:
    """Turns "half of stage X is done" into a fraction of the whole job that never goes back.

    Whoever says so is told with a `TimedOutError` when the recipe's time is over.

    Attributes:
        seconds: Wall time of each stage so far.
    """

    def __init__(self, recipe: Recipe, on_progress: OnProgress) -> None:
        absent = {stage for stage, needed in _needs(recipe).items() if not needed}
        usual = _SEARCH if recipe.method == "auto" else _SHARES
        shares = {stage: share for stage, share in usual.items() if stage not in absent}
        whole = sum(shares.values())
        self._share = {stage: share / whole for stage, share in shares.items()}
        self._start = {stage: sum(list(self._share.values())[:place]) for place, stage in enumerate(self._share)}
        self.on_progress = on_progress
        self.seconds: dict[str, float] = {}
        self._stage: Stage | None = None
        self._since = time.perf_counter()
        self._fraction = 0.0
        self._timeout = recipe.timeout_seconds
        self._began = self._since

    def at(self, stage: Stage, share: float, message: str = "") -> None:
        """Says that `share`, 0 to 1, of `stage` is done."""
        self._check_time(stage)
        fraction = min(1.0, max(self._fraction, self._start[stage] + share * self._share[stage]))
        if stage == self._stage and share < 1 and fraction - self._fraction < _LEAST_STEP:
            return
        self._clock(stage)
        self._fraction = fraction
        self.on_progress(Progress(stage=stage, fraction=fraction, message=message))

    def say(self, message: str) -> None:
        """Says what is being done now, no further than before."""
        if self._stage is not None:
            self._check_time(self._stage)
            self.on_progress(Progress(stage=self._stage, fraction=self._fraction, message=message))

    def stop(self) -> None:
        """Ends the last stage's clock."""
        self._clock(None)

    def _check_time(self, stage: Stage) -> None:
        if self._timeout is not None and time.perf_counter() - self._began > self._timeout:
            raise TimedOutError(
                f"The job took longer than {self._timeout:g} seconds; it had come to the stage {stage}.",
                hint="Measure or train for less time, or raise the recipe's timeout_seconds.",
            )

    def _clock(self, stage: Stage | None) -> None:
        now = time.perf_counter()
        if stage != self._stage:
            if self._stage is not None:
                self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
            self._stage, self._since = stage, now


def _needs(recipe: Recipe) -> dict[Stage, bool]:
    made_at_once = recipe.method != "auto"
    return {
        "calibrate": recipe.needs_calibration and made_at_once,
        "train": recipe.method == "qat",
        "convert": made_at_once,
    }

"""Which job state may follow which: the only place that knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from octet.wire import FINISHED, JobState

if TYPE_CHECKING:
    from collections.abc import Mapping

STATES: tuple[JobState, ...] = get_args(JobState)

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    "queued": frozenset({"running", "cancelled", "failed"}),  # failed: the attempt cap was reached
    "running": frozenset({"queued", "cancelling", "succeeded", "failed"}),  # queued: its worker was lost
    "cancelling": frozenset({"cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

HELD: frozenset[JobState] = frozenset({"running", "cancelling"})  # a worker has the job, under a lease
UNFINISHED: frozenset[JobState] = frozenset(STATES) - FINISHED

if any(bool(TRANSITIONS[state]) == (state in FINISHED) for state in STATES):  # pragma: no cover
    msg = "a finished state has a successor, or an unfinished one has none"
    raise AssertionError(msg)


def before(state: JobState) -> frozenset[JobState]:
    """The states that `state` may follow."""
    return frozenset(source for source, targets in TRANSITIONS.items() if state in targets)

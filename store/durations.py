"""How long jobs ran, counted as they end: a histogram that outlives the jobs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import event, select
from sqlalchemy.dialects.postgresql import insert

from store.tables import JobStatistic

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from octet.wire import JobState
    from store.tables import Job

# Upper bounds in seconds. Each becomes rows of the table, so a bound may be added here, but not moved.
BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, math.inf)

_ENDED = "octet.ended"


class Kind(NamedTuple):
    """What is counted apart: what the recipe asked for, and how the job ended."""

    method: str
    engine: str
    state: JobState


@dataclass
class Histogram:
    """The run times of one kind of job.

    Attributes:
        jobs: By bound: how many stayed below it, but not below the bound before.
        seconds: Of all of them together.
    """

    jobs: Counter[float] = field(default_factory=Counter)
    seconds: float = 0.0


def count(session: Session, job: Job) -> None:
    """Count a job that ends in this transaction, by the time that its last attempt took.

    All jobs of a kind share rows, so these are written last thing before the commit, and in one order: no row is locked
    while artifacts are stored, and nobody who holds one waits for another's.
    """
    if _ENDED not in session.info:
        session.info[_ENDED] = []
        event.listen(session, "before_commit", _write, once=True)
    kind = Kind(job.recipe["method"], job.recipe["engine"], job.state)
    session.info[_ENDED].append((kind, _seconds(job)))


def histograms(session: Session) -> dict[Kind, Histogram]:
    """The run times of all jobs that ever ended."""
    found: dict[Kind, Histogram] = defaultdict(Histogram)
    for row in session.scalars(select(JobStatistic)):
        histogram = found[Kind(row.method, row.engine, row.state)]
        histogram.jobs[row.bucket] += row.jobs
        histogram.seconds += row.seconds
    return found


def _seconds(job: Job) -> float:
    """A job that was cancelled while it was queued never ran, or not since it was queued again."""
    ended = job.succeeded_at or job.failed_at or (job.cancelling_at and job.cancelled_at)
    return (ended - job.running_at).total_seconds() if ended and job.running_at else 0.0


def _write(session: Session) -> None:
    jobs: Counter[tuple[Kind, float]] = Counter()
    seconds: Counter[tuple[Kind, float]] = Counter()
    for kind, taken in session.info.pop(_ENDED):
        row = kind, BOUNDS[bisect_left(BOUNDS, taken)]
        jobs[row] += 1
        seconds[row] += taken
    rows = [
        {**kind._asdict(), "bucket": bound, "jobs": jobs[kind, bound], "seconds": seconds[kind, bound]}
        for kind, bound in sorted(jobs)
    ]
    statement = insert(JobStatistic).values(rows)
    sums = {name: JobStatistic.__table__.c[name] + statement.excluded[name] for name in ("jobs", "seconds")}
    session.execute(statement.on_conflict_do_update(index_elements=JobStatistic.__table__.primary_key, set_=sums))

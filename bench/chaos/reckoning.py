"""After a fault: what became of every job that the client was promised, from its log, Postgres, and downloads."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from octet.wire import FINISHED
from store.tables import Artifact, Job, JobEvent, Metric, Worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from chaos.scene import Scene, Strike
    from store.database import Session

_SHOULD_END = {"succeeded"}


@dataclass
class Tally:
    """What became of Octet's jobs. All counts but the first and the last must be 0.

    Attributes:
        acknowledged: Jobs for which the client has read a 202.
        lost: Of these, those that Postgres does not know, or that never reached an end.
        twice: With two committed results: two ends, results of two attempts, a row of its artifacts or figures twice, a
            write after its end or after its next attempt began, or two jobs of one request.
        wrong: Artifacts whose bytes, downloaded, do not have their hash.
        human: Jobs that somebody has to see to: not ended when nothing moved any more, or ended otherwise than they
            should.
        recovery: Seconds, as `chaos.scene.Strike.affected` defines it; None: nothing was hit.
        retried: Jobs that took more than one attempt.
        reasons: What was wrong with those that somebody has to see to, and how many they are.
    """

    acknowledged: int
    lost: int
    twice: int
    wrong: int
    human: int
    recovery: float | None
    retried: int
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.twice or self.wrong or self.human)


def reckon(scene: Scene, strike: Strike) -> Tally:
    """Count, once all has settled."""
    promised = scene.acknowledged
    rows = {job.id: job for job in scene.rows()}
    ids = list(rows)
    events = scene.bed.ask(lambda session: _events(session, ids))
    doubled = scene.bed.ask(lambda session: _doubled_rows(session, ids))
    unfinished = [job for job in rows.values() if job.state not in FINISHED]
    wrongly = [
        job
        for job in rows.values()
        if job.state in FINISHED and job.state not in strike.may_end.get(job.id, _SHOULD_END)
    ]
    twice = doubled | {job_id for job_id in ids if _written_twice(events[job_id])} | _repeated(rows.values())
    succeeded = [job.id for job in rows.values() if job.state == "succeeded"]
    return Tally(
        acknowledged=len(promised),
        lost=sum(job_id not in rows or rows[job_id].state not in FINISHED for job_id in promised),
        twice=len(twice),
        wrong=scene.bed.client.wrong_artifacts(succeeded),
        human=len(unfinished) + len(wrongly),
        recovery=recovery(scene, strike, events),
        retried=sum(job.attempt > 1 for job in rows.values()),
        reasons=dict(
            Counter(f"{job.state}: {(job.error or {}).get('message', job.message)}" for job in unfinished + wrongly)
        ),
    )


def recovery(scene: Scene, strike: Strike, events: dict[UUID, list[JobEvent]]) -> float | None:
    """Seconds until what the fault has hit goes on."""
    if strike.affected is None:
        seconds = [_first_claim(scene, worker.pid, strike.over) for worker in scene.bed.workers]
        return max((each for each in seconds if each is not None), default=None)
    moments = []
    for job_id, hit_at in strike.affected.items():
        after = [event.at.timestamp() for event in events[job_id] if _goes_on(event, hit_at)]
        # Nothing since: it had ended just before, or it was never taken up again.
        none = hit_at if events[job_id][-1].state in FINISHED else float("inf")
        moments.append(min(after, default=none) - hit_at)
    return max(moments, default=None)


def _goes_on(event: JobEvent, over: float) -> bool:
    return event.kind == "state" and event.at.timestamp() > over and event.state in FINISHED | {"running"}


def _first_claim(scene: Scene, pid: int, over: float) -> float | None:
    """Seconds from `over` until the worker took up its next job; None if it took up none any more."""
    row = select(Worker.id).where(Worker.pid == pid).scalar_subquery()
    query = select(func.min(Job.running_at)).where(Job.worker_id == row, func.extract("epoch", Job.running_at) > over)
    first = scene.bed.ask(lambda session: session.scalar(query))
    return None if first is None else first.timestamp() - over


def _events(session: Session, ids: Sequence[UUID]) -> dict[UUID, list[JobEvent]]:
    events: dict[UUID, list[JobEvent]] = defaultdict(list)
    for event in session.scalars(select(JobEvent).where(JobEvent.job_id.in_(ids)).order_by(JobEvent.id)):
        events[event.job_id].append(event)
    return events


def _written_twice(events: Sequence[JobEvent]) -> bool:
    """Whether it ended twice, or something was written after its end, or by an attempt that was given up."""
    ends = [at for at, event in enumerate(events) if event.state in FINISHED]
    attempts = [event.attempt for event in events]
    return bool(ends and ends[0] != len(events) - 1) or attempts != sorted(attempts)


def _doubled_rows(session: Session, ids: Sequence[UUID]) -> set[UUID]:
    """Jobs that have an artifact or a figure twice, or either without having succeeded."""
    found: set[UUID] = set()
    for table, columns in ((Artifact, (Artifact.name,)), (Metric, (Metric.name, Metric.batch_size))):
        key: tuple[Any, ...] = (table.job_id, *columns)
        rows = select(table.job_id).where(table.job_id.in_(ids))
        found |= set(session.scalars(rows.group_by(*key).having(func.count() > 1)))
        unearned = rows.join(Job, Job.id == table.job_id).where(Job.state != "succeeded")
        found |= set(session.scalars(unearned))
    return found


def _repeated(rows: Any) -> set[UUID]:
    """Jobs of a request that made another job before."""
    seen: set[str] = set()
    again: set[UUID] = set()
    for job in rows:
        if job.name in seen:
            again.add(job.id)
        seen.add(job.name)
    return again

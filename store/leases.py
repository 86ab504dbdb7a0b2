"""The worker's side of a job: it holds the job under a lease, and every write names the attempt it belongs to.

A worker that lost its lease finds each of these functions without effect. Nothing it does late can show.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import func, insert, or_, select, update

from store import blobs, events, jobs, locks, workers
from store.states import HELD
from store.tables import Artifact, Job, LayerMetric, Metric

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime
    from io import BufferedReader
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from octet.progress import Stage
    from octet.report import Report
    from octet.wire import JobState

# The jobs at the head of the queue are hinted again if nobody came. All of them would pile up hints in Redis while the
# workers are busy; those behind become the head in their turn.
_HINTS_AT_ONCE = 20
_FRESH: dict[str, Any] = {"stage": None, "progress": 0.0, "message": ""}
# Back to its old place in the queue, and due for a hint.
_REQUEUED = {**_FRESH, "worker_id": None, "hinted_at": None, "queued_at": Job.queued_at}


def claim(session: Session, job_id: UUID, worker_id: UUID, lease_seconds: float) -> Job | None:
    """Take a queued job; None if another worker has it, or it is over. Every later call needs the job's `attempt`."""
    lease = _from_now(lease_seconds)
    taken = jobs.transition(session, job_id, "running", worker_id=worker_id, lease_until=lease, **_FRESH)
    return jobs.get(session, job_id) if taken else None


def renew(session: Session, job_id: UUID, attempt: int, lease_seconds: float) -> JobState | None:
    """Keep the lease.

    Returns:
        The job's state: `running`, or `cancelling` if it shall end. None: the lease is lost, and the job with it.
    """
    statement = update(Job).where(*_holding(job_id, attempt)).values(lease_until=_from_now(lease_seconds))
    return cast("JobState | None", session.scalar(statement.returning(Job.state), execution_options=_NO_SYNC))


def record_progress(  # noqa: PLR0917 - the lease, then octet.progress.Progress field by field
    session: Session, job_id: UUID, attempt: int, stage: Stage, fraction: float, message: str
) -> bool:
    """Note how far the job is; False if the lease is lost.

    Cheap enough to be called several times a second. It becomes an event when it enters a stage or a whole percent, so
    that an attempt has little more than a hundred events.
    """
    before = select(Job.id, Job.stage, Job.progress).where(*_holding(job_id, attempt)).with_for_update().cte("before")
    statement = (
        update(Job)
        .where(Job.id == before.c.id)
        .values(stage=stage, progress=func.greatest(Job.progress, fraction), message=message)
        .returning(Job, before.c.stage, before.c.progress)
    )
    row = session.execute(statement, execution_options={**_NO_SYNC, "populate_existing": True}).first()
    if row is None:
        return False
    job, stage_before, progress_before = row
    if stage != stage_before or int(job.progress * 100) > int(progress_before * 100):
        events.add(session, job, "progress")
    return True


def keep_checkpoint(session: Session, job_id: UUID, attempt: int, file: BufferedReader) -> bool:
    """Keep how far the job is, in place of what was kept before; False if the lease is lost.

    The content is written before the job's row is locked: renewing the lease must not wait for it.
    """
    size = file.seek(0, os.SEEK_END)
    sha256 = _sha256(file)
    blobs.write(session, file, sha256=sha256, size=size)
    held = select(Job).where(*_holding(job_id, attempt)).with_for_update()
    job = session.scalar(held, execution_options={"populate_existing": True})
    if job is None:
        blobs.delete_unreferenced(session, sha256)
        return False
    if job.checkpoint_sha256 != sha256:
        jobs.drop_checkpoint(session, job)
        job.checkpoint_sha256 = sha256
        session.flush()
    return True


def succeed(
    session: Session, job_id: UUID, attempt: int, report: Report, artifacts: Iterable[tuple[str, str, Path]]
) -> bool:
    """End a job well, with its report and its artifacts as (name, media type, file): all of it, or nothing.

    The job's row is locked from the start until the commit. A `renew` at the same time would wait, and then find the
    job ended: stop renewing first.
    """
    values = {"report": json.loads(report.model_dump_json()), "verdict": report.verdict, "progress": 1.0, "message": ""}
    if not jobs.transition(session, job_id, "succeeded", attempt=attempt, **values):
        return False
    _keep_artifacts(session, job_id, artifacts)
    _keep_figures(session, job_id, report)
    return True


def fail(session: Session, job_id: UUID, attempt: int, error: dict[str, Any]) -> bool:
    """End a job with an error, as `octet.wire.JobError`; False if the lease is lost or the job is being cancelled."""
    return jobs.transition(session, job_id, "failed", attempt=attempt, error=error)


def confirm_cancelled(session: Session, job_id: UUID, attempt: int) -> bool:
    """End a job whose cancellation was asked for, once its process is gone."""
    return jobs.transition(session, job_id, "cancelled", attempt=attempt)


def release(session: Session, job_id: UUID, attempt: int) -> bool:
    """Hand a running job back to the queue. The attempt keeps its number, but does not count against the cap."""
    return jobs.transition(session, job_id, "queued", attempt=attempt, released=Job.released + 1, **_REQUEUED)


def retry(session: Session, job_id: UUID, attempt: int, *, message: str) -> bool:
    """Put a job back into the queue whose process crashed. The attempt counts; `message` says what happened."""
    return jobs.transition(session, job_id, "queued", attempt=attempt, **{**_REQUEUED, "message": message})


def reconcile(session: Session, *, lease_seconds: float, max_attempts: int, hint_after_seconds: float) -> list[UUID]:
    """Put right what killed processes left: re-queue jobs whose lease ran out, or end them; forget lost workers.

    One runs at a time; others find nothing to do.

    Returns:
        Queued jobs whose hint is missing, oldest first: publish them, then call `mark_hinted`.
    """
    if not locks.try_acquire(session, locks.Lock.RECONCILIATION):
        return []
    # Skipped where locked: its worker is writing to it this very moment, so it is not lost.
    expired = select(Job).where(Job.state.in_(HELD), Job.lease_until < func.now()).with_for_update(skip_locked=True)
    for job in session.scalars(expired, execution_options={"populate_existing": True}).all():
        _give_up(session, job, max_attempts)
    workers.forget_lost(session, lease_seconds)
    due = or_(Job.hinted_at.is_(None), Job.hinted_at < _from_now(-hint_after_seconds))
    queue = select(Job.id).where(Job.state == "queued", due).order_by(Job.queued_at, Job.id)
    return list(session.scalars(queue.limit(_HINTS_AT_ONCE)))


def mark_hinted(session: Session, ids: Collection[UUID]) -> None:
    """Note that the hints of these jobs were published now."""
    statement = update(Job).where(Job.id.in_(ids)).values(hinted_at=func.now())
    session.execute(statement, execution_options=_NO_SYNC)


_NO_SYNC = {"synchronize_session": False}


def _from_now(seconds: float) -> ColumnElement[datetime]:
    return func.now() + timedelta(seconds=seconds)


def _holding(job_id: UUID, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return Job.id == job_id, Job.attempt == attempt, Job.state.in_(HELD)


def _give_up(session: Session, job: Job, max_attempts: int) -> None:
    """What becomes of a job whose worker was lost."""
    started = job.attempt - job.released
    if job.state == "cancelling":
        jobs.transition(session, job.id, "cancelled")
    elif started < max_attempts:
        jobs.transition(session, job.id, "queued", **_REQUEUED)
    else:
        error = {
            "code": "attempts_exhausted",
            "message": f"The job was started {started} times, and each time its worker was lost.",
            "hint": "The job may need more memory than a worker has; the workers' logs say how they ended.",
        }
        jobs.transition(session, job.id, "failed", error=error)


def _keep_artifacts(session: Session, job_id: UUID, artifacts: Iterable[tuple[str, str, Path]]) -> None:
    # In the order of their hashes, so that two jobs with the same artifacts cannot wait for each other's locks.
    for sha256, (name, media_type, path) in sorted((_sha256_of(artifact[2]), artifact) for artifact in artifacts):
        size = path.stat().st_size
        with path.open("rb") as file:
            blobs.write(session, file, sha256=sha256, size=size)
        session.add(Artifact(job_id=job_id, name=name, media_type=media_type, sha256=sha256, size=size))
    session.flush()


def _keep_figures(session: Session, job_id: UUID, report: Report) -> None:
    if figures := [{"job_id": job_id, **metric.model_dump()} for metric in report.metrics()]:
        session.execute(insert(Metric), figures)
    layers = [layer.model_dump() for layer in report.layers]
    if rows := [{"job_id": job_id, "position": position, **layer} for position, layer in enumerate(layers)]:
        session.execute(insert(LayerMetric), rows)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return _sha256(file)


def _sha256(file: BufferedReader) -> str:
    """Of all of `file`, which is then at its start."""
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return sha256

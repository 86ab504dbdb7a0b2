"""The worker's side of a job: it holds the job under a lease, and every write names the attempt it belongs to.

A worker that lost its lease finds each of these functions without effect. Nothing it does late can show.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import func, insert, select, update

from store import blobs, events, jobs, locks, workers
from store.protocol import PROTOCOL
from store.states import HELD
from store.tables import Artifact, Job, JobEvent, LayerMetric, Metric

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

_FRESH: dict[str, Any] = {"stage": None, "progress": 0.0, "message": ""}
_REQUEUED = {**_FRESH, "worker_id": None, "queued_at": Job.queued_at}  # back to its old place in the queue
# Share of a lease: a worker that has not been heard of for so long does not judge others. Two of its rounds are half a
# lease apart at most.
_OWN_ABSENCE = 0.75
_WAITING = select(Job.id).where(Job.state == "queued", Job.protocol <= PROTOCOL)


def claim(session: Session, job_id: UUID, worker_id: UUID, lease_seconds: float) -> Job | None:
    """Take a queued job. Every later call needs the job's `attempt`.

    Returns:
        None if another worker has it, or it is over, or it needs a worker that knows more: `store.protocol`.
    """
    lease = _from_now(lease_seconds)
    taken = jobs.transition(session, job_id, "running", worker_id=worker_id, lease_until=lease, **_FRESH)
    return session.get_one(Job, job_id) if taken else None


def claim_next(session: Session, worker_id: UUID, lease_seconds: float, *, last: Collection[UUID] = ()) -> Job | None:
    """Take the job that has been queued longest, of those that this worker can do; None if there is none.

    Args:
        session: A transaction.
        worker_id: Who takes it.
        lease_seconds: For how long, unless it is renewed.
        last: Jobs to be taken only if there are no others: one that this worker has handed back must not keep it from
            all that came later.
    """
    order = (Job.id.in_(last), Job.queued_at, Job.id) if last else (Job.queued_at, Job.id)
    # Skipped where locked: somebody else is taking it, or cancelling it.
    job_id = session.scalar(_WAITING.order_by(*order).limit(1).with_for_update(skip_locked=True))
    return None if job_id is None else claim(session, job_id, worker_id, lease_seconds)


def any_waiting(session: Session) -> bool:
    """Whether there may be a job to claim."""
    return session.scalar(_WAITING.limit(1)) is not None


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

    The content is written before the job's row is locked: renewing the lease, or cancelling, must not wait for it.
    """
    rows = _write_contents(session, artifacts)
    values = {"report": json.loads(report.model_dump_json()), "verdict": report.verdict, "progress": 1.0, "message": ""}
    if not jobs.transition(session, job_id, "succeeded", attempt=attempt, **values):
        for row in rows:
            blobs.delete_unreferenced(session, row["sha256"])
        return False
    if rows:
        session.execute(insert(Artifact), [{"job_id": job_id, **row} for row in rows])
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


def crash(session: Session, job_id: UUID, attempt: int, happened: str, *, max_attempts: int) -> bool:
    """End an attempt whose process ended without a word; False if the lease is lost or the job is being cancelled.

    The attempt counts. The job is queued again, unless it was the last one that it has.

    Args:
        session: A transaction.
        job_id: The job.
        attempt: The attempt.
        happened: What happened, in a sentence.
        max_attempts: How often a job is started before it is given up.
    """
    held = select(Job).where(*_holding(job_id, attempt)).with_for_update()
    job = session.scalar(held, execution_options={"populate_existing": True})
    return job is not None and _again_or_never(session, job, "crashed", happened, max_attempts)


def reconcile(session: Session, worker_id: UUID, *, lease_seconds: float, max_attempts: int) -> None:
    """Put right what killed processes left: re-queue jobs whose lease ran out, or end them; forget lost workers.

    One worker does it at a time, and none that has not been heard of for long itself: where the database was out of
    reach, or the machine asleep, nobody else was heard of either, and all deserve a moment to show that they live.
    """
    if not workers.seen_within(session, worker_id, _OWN_ABSENCE * lease_seconds):
        return
    if not locks.try_acquire(session, locks.Lock.RECONCILIATION):
        return
    # Skipped where locked: its worker is writing to it this very moment, so it is not lost.
    expired = select(Job).where(Job.state.in_(HELD), Job.lease_until < func.now()).with_for_update(skip_locked=True)
    for job in session.scalars(expired, execution_options={"populate_existing": True}).all():
        if job.state == "cancelling":
            jobs.transition(session, job.id, "cancelled")
        else:
            _again_or_never(session, job, "attempts_exhausted", "The job's worker was lost.", max_attempts)
    workers.forget_lost(session, lease_seconds)


_NO_SYNC = {"synchronize_session": False}


def _from_now(seconds: float) -> ColumnElement[datetime]:
    return func.now() + timedelta(seconds=seconds)


def _holding(job_id: UUID, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return Job.id == job_id, Job.attempt == attempt, Job.state.in_(HELD)


def _again_or_never(session: Session, job: Job, code: str, happened: str, max_attempts: int) -> bool:
    """What becomes of a job whose attempt ended without a word of its own: it is tried again, up to the cap."""
    started = job.attempt - job.released
    if started < max_attempts:
        return jobs.transition(session, job.id, "queued", attempt=job.attempt, **{**_REQUEUED, "message": happened})
    history = [*_crashes(session, job.id), (job.attempt, happened)]
    error = {
        "code": code,
        "message": " ".join(["The job was given up.", *(f"Attempt {attempt}: {words}" for attempt, words in history)]),
        "hint": "The workers' logs have the details, under this job's id. It may need more than a worker has.",
    }
    return jobs.transition(session, job.id, "failed", attempt=job.attempt, error=error)


def _crashes(session: Session, job_id: UUID) -> list[tuple[int, str]]:
    """What ended the earlier attempts, in words. Those that were handed back ended without any."""
    told = (JobEvent.kind == "state", JobEvent.state == "queued", JobEvent.message != "")
    query = select(JobEvent.attempt, JobEvent.message).where(JobEvent.job_id == job_id, *told).order_by(JobEvent.id)
    return [(attempt, message) for attempt, message in session.execute(query)]


def _write_contents(session: Session, artifacts: Iterable[tuple[str, str, Path]]) -> list[dict[str, Any]]:
    """Store the files; gives a row of the table of artifacts for each."""
    rows = []
    # In the order of their hashes, so that two jobs with the same artifacts cannot wait for each other's locks.
    for sha256, (name, media_type, path) in sorted((_sha256_of(artifact[2]), artifact) for artifact in artifacts):
        size = path.stat().st_size
        with path.open("rb") as file:
            blobs.write(session, file, sha256=sha256, size=size)
        rows.append({"name": name, "media_type": media_type, "sha256": sha256, "size": size})
    return rows


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

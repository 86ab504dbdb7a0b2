"""Jobs as their submitter sees them, and the one place where a job changes its state."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, func, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from octet.wire import FINISHED
from store import blobs, durations, events, paging, results, uploads, webhooks
from store.errors import IdempotencyMismatchError, JobEndedError, NotFoundError
from store.protocol import PROTOCOL, needed
from store.states import HELD, STATES, before
from store.tables import Job, Metric

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from octet.wire import JobState

# What entering a state always means for other columns.
_ENTERING: dict[JobState, dict[str, Any]] = {
    "running": {"attempt": Job.attempt + 1},
    **{state: {"lease_until": None} for state in STATES if state not in HELD},
}
# What else must hold of a job that enters a state.
_GUARDS: dict[JobState, ColumnElement[bool]] = {"running": Job.protocol <= PROTOCOL}
# Where a cancellation leads from each state that it changes.
_CANCEL: dict[JobState, JobState] = {"queued": "cancelled", "running": "cancelling"}
_ENDED: dict[JobState, str] = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}


def create(
    session: Session,
    *,
    owner_id: UUID,
    model_id: UUID,
    calibration_id: UUID | None,
    evaluation_id: UUID | None,
    recipe: dict[str, Any],
    name: str | None,
    key_id: UUID,
    idempotency_key: str | None,
    request_sha256: str,
    request_id: str | None = None,
    traceparent: str | None = None,
    expires_at: datetime | None = None,
    reuse: bool = False,
) -> tuple[Job, bool]:
    """Queue a job. The caller publishes its hint after the commit.

    Returns:
        The job, and whether it is new: the same idempotency key again, from the same caller, gives the job it gave
        before; and `reuse`, if there is one, an earlier job of the owner that has the result.

    Raises:
        NotFoundError: If the model or a dataset does not exist; a subclass of it if it was deleted. It points at the
            field of the request.
        IdempotencyMismatchError: If the caller used the idempotency key for another request.
    """
    if (known := _repeated(session, key_id, idempotency_key, request_sha256)) is not None:
        return known, False
    contents = {"model": uploads.hold(session, "model", model_id, owner_id=owner_id, field="model").sha256}
    for field, dataset_id in (("calibration", calibration_id), ("evaluation", evaluation_id)):
        if dataset_id is not None:
            contents[field] = uploads.hold(session, "dataset", dataset_id, owner_id=owner_id, field=field).sha256
    result_key = results.key(recipe, **contents)
    if reuse and (found := results.find(session, owner_id, result_key)) is not None:
        return found, False
    values = {
        "owner_id": owner_id,
        "model_id": model_id,
        "calibration_id": calibration_id,
        "evaluation_id": evaluation_id,
        "recipe": recipe,
        "protocol": needed(recipe),
        "name": name,
        "key_id": key_id,
        "idempotency_key": idempotency_key,
        "request_sha256": request_sha256,
        "result_key": result_key,
        "request_id": request_id,
        "traceparent": traceparent,
        "expires_at": expires_at,
    }
    unique = [Job.key_id, Job.idempotency_key]
    job = session.scalar(insert(Job).values(values).on_conflict_do_nothing(index_elements=unique).returning(Job))
    if job is None:  # the same key, at the same moment: its transaction has committed by now
        known = _repeated(session, key_id, idempotency_key, request_sha256)
        assert known is not None  # noqa: S101 - for mypy: only this key can conflict, and no job is purged so soon
        return known, False
    events.add(session, job, "state")
    return job, True


def get(session: Session, job_id: UUID, *, owner_id: UUID) -> Job:
    """A job.

    Raises:
        NotFoundError: If the owner has none of that id.
    """
    job = session.scalar(select(Job).where(Job.id == job_id, Job.owner_id == owner_id))
    if job is None:
        raise _not_found(job_id)
    return job


def list_page(
    session: Session, *, owner_id: UUID, status: JobState | None, limit: int, after: UUID | None
) -> paging.Page[Job]:
    """The owner's jobs, newest first; those in one state if `status` is given."""
    theirs, where = Job.owner_id == owner_id, () if status is None else (Job.state == status,)
    return paging.newest_first(session, Job, Job.queued_at, *where, within=theirs, limit=limit, after=after)


def queue_position(session: Session, job: Job) -> int | None:
    """How many jobs of its owner will start before this one; None once it has started. It tells nothing of others'."""
    if job.state != "queued":
        return None
    ahead = tuple_(Job.queued_at, Job.id) < (job.queued_at, job.id)
    theirs = Job.owner_id == job.owner_id
    return session.scalar(select(func.count()).select_from(Job).where(theirs, Job.state == "queued", ahead))


def protocol_of_queue(session: Session) -> int:
    """What a worker must know to do every job that is queued."""
    return session.scalar(select(func.max(Job.protocol)).where(Job.state == "queued")) or 1


def cancel(session: Session, job_id: UUID, *, owner_id: UUID) -> Job:
    """Cancel a job: at once while it is queued; when it runs its worker is told, and does it. Twice is as good as once.

    Raises:
        NotFoundError: If the owner has none of that id.
        JobEndedError: If it has ended.
    """
    # Locked first, since the answer depends on the state: a worker that claims or ends the job comes before or after.
    theirs = select(Job).where(Job.id == job_id, Job.owner_id == owner_id)
    job = session.scalar(theirs.with_for_update(), execution_options={"populate_existing": True})
    if job is None:
        raise _not_found(job_id)
    if job.state in _CANCEL:
        transition(session, job_id, _CANCEL[job.state])
    elif job.state in _ENDED:
        raise JobEndedError(f"The job {job_id} has already {_ENDED[job.state]}.", state=job.state)
    return job


def transition(session: Session, job_id: UUID, to: JobState, *, attempt: int | None = None, **values: Any) -> bool:
    """Change a job's state, if `store.states` lets it: the only statement that ever does.

    Args:
        session: A transaction.
        job_id: The job.
        to: Its next state.
        attempt: For what a worker does: it must hold the job now, and in this very attempt. Otherwise a worker that
            was given up could end the job while it waits for its next attempt.
        **values: Other columns to set; `{to}_at` becomes now, unless it is one of them.

    Returns:
        Whether the state changed. If not, nothing was written.
    """
    sources = before(to) if attempt is None else before(to) & HELD
    guard = [Job.id == job_id, Job.state.in_(sources), _GUARDS.get(to, true())]
    if attempt is not None:
        guard.append(Job.attempt == attempt)
    changes = {"state": to, f"{to}_at": func.now(), **_ENTERING.get(to, {}), **values}
    job = session.scalar(
        update(Job).where(*guard).values(changes).returning(Job),
        execution_options={"synchronize_session": False, "populate_existing": True},
    )
    if job is None:
        return False
    events.add(session, job, "state")
    if to in FINISHED:
        durations.count(session, job)
        webhooks.announce(session, job)
        drop_checkpoint(session, job)
    return True


def drop_checkpoint(session: Session, job: Job) -> None:
    """Free what the next attempt would have gone on from."""
    sha256, job.checkpoint_sha256 = job.checkpoint_sha256, None
    session.flush()
    if sha256 is not None:
        blobs.delete_unreferenced(session, sha256)


def metrics_of(session: Session, job_ids: Collection[UUID]) -> dict[UUID, list[Metric]]:
    """The figures of each job, in the order of its report."""
    metrics: dict[UUID, list[Metric]] = defaultdict(list)
    for metric in session.scalars(select(Metric).where(Metric.job_id.in_(job_ids)).order_by(Metric.id)):
        metrics[metric.job_id].append(metric)
    return metrics


def _not_found(job_id: UUID) -> NotFoundError:
    return NotFoundError(f"There is no job {job_id}.")


def _repeated(session: Session, key_id: UUID, idempotency_key: str | None, request_sha256: str) -> Job | None:
    if idempotency_key is None:
        return None
    job = session.scalar(select(Job).where(Job.key_id == key_id, Job.idempotency_key == idempotency_key))
    if job is not None and job.request_sha256 != request_sha256:
        raise IdempotencyMismatchError(
            f"The idempotency key {idempotency_key!r} was used before, for another request.",
            hint="Use a new key for each new job, and the same one only to repeat a request.",
        )
    return job

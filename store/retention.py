"""How long things are kept: what has expired goes by itself, and what somebody wants gone goes at once.

With a job go its report, its figures, its events, and its artifacts with their bytes. The audit log keeps that it was
there, and who purged it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import delete, func, select

from octet.errors import FieldError
from octet.wire import FINISHED
from store import audit, blobs, locks, uploads
from store import partial as parts
from store.errors import (
    ConflictError,
    DatasetDeletedError,
    InvalidExpiryError,
    JobUnfinishedError,
    ModelDeletedError,
    NotFoundError,
)
from store.states import UNFINISHED
from store.tables import Artifact, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from store.database import Database
    from store.uploads import Kind

T = TypeVar("T")

_LONGEST = timedelta(days=36_525)
_AT_ONCE = 100  # of a kind, in one sweep: the next one is soon


def expiry(session: Session, asked: datetime | None, default_seconds: float | None) -> datetime | None:
    """When something expires that is made now; None: never.

    Args:
        session: A transaction.
        asked: The moment that its owner wants.
        default_seconds: How long it is kept if they want none.

    Raises:
        InvalidExpiryError: If that moment has passed, or is more than a hundred years away.
    """
    now = session.scalars(select(func.now())).one()
    if asked is None:
        return None if default_seconds is None else now + timedelta(seconds=default_seconds)
    if not now < asked < now + _LONGEST:
        message, hint = f"`expires_at`, {asked.isoformat()}, has passed, or is too far away.", "Take a later moment."
        raise InvalidExpiryError(message, errors=[FieldError("/expires_at", message, hint)])
    return asked


def purge_job(session: Session, job_id: UUID, *, actor: audit.Actor, owner_id: UUID) -> None:
    """Delete a job with all that it made.

    Raises:
        NotFoundError: If the owner has none of that id.
        JobUnfinishedError: If it has not ended.
    """
    job = session.execute(select(Job.name, Job.state).where(Job.id == job_id, Job.owner_id == owner_id)).first()
    if job is None:
        raise _no_job(job_id)
    if job.state in UNFINISHED:
        hint = "Cancel it, or wait for its end."
        raise JobUnfinishedError(f"The job {job_id} is {job.state}.", state=job.state, hint=hint)
    # A job that has ended makes nothing more, so its contents can be locked before its row, and in the order of their
    # hashes: as all do who lock several of these.
    contents = session.scalars(select(Artifact.sha256).where(Artifact.job_id == job_id).distinct()).all()
    for sha256 in sorted(contents):
        locks.content(session, sha256)
    # With the row goes, by the tables' own rules, whatever refers to it.
    gone = delete(Job).where(Job.id == job_id).returning(Job.id)
    if session.scalar(gone, execution_options={"synchronize_session": False}) is None:
        raise _no_job(job_id)
    for sha256 in contents:
        blobs.delete_unreferenced(session, sha256)
    audit.record(session, actor, "job.purge", job_id, name=job.name)


def purge_upload(database: Database, kind: Kind, upload_id: UUID, *, actor: audit.Actor, owner_id: UUID) -> None:
    """Delete a model or dataset, or what is left of a deleted one: its name too, with every job that used it.

    Each job is a transaction of its own: thousands may have used it, and Postgres has no room for that many locks. What
    is broken off goes on when it is asked for again.

    Raises:
        NotFoundError: If the owner has none of that id.
        InUseError: If one of the jobs has not ended.
    """
    with suppress(ModelDeletedError, DatasetDeletedError), database.begin() as session:
        uploads.delete(session, kind, upload_id, owner_id=owner_id)  # from here on no job can begin to use it
        audit.record(session, actor, f"{kind}.delete", upload_id)
    with database.begin() as session:
        used = session.scalars(select(Job.id).where(uploads.used(kind, upload_id))).all()
    for job_id in used:
        with suppress(NotFoundError), database.begin() as session:  # somebody else may be at it too
            purge_job(session, job_id, actor=actor, owner_id=owner_id)
    with database.begin() as session:
        if uploads.forget(session, kind, upload_id):
            audit.record(session, actor, f"{kind}.purge", upload_id)


def sweep(database: Database) -> int:
    """Delete what has expired: jobs that have ended, models and data that no unfinished job needs, parts of files.

    Each is a transaction of its own, and several sweeps at a time do no harm.

    Returns:
        How much of it there was.
    """
    swept = _each(database, _expired_jobs, _sweep_job)
    for kind in uploads.KINDS:
        swept += _each(database, partial(uploads.expired, kind=kind), partial(_sweep_upload, kind=kind))
    with database.begin() as session:
        return swept + parts.remove_expired(session, _AT_ONCE)


def collect(database: Database) -> int:
    """Free content that nothing refers to; how much of it there was.

    All who write content refer to it in the same transaction, so this finds what an older release or a person left.
    """
    return _each(database, blobs.unreferenced, blobs.delete_unreferenced)


def _each(database: Database, find: Callable[[Session, int], Iterable[T]], do: Callable[[Session, T], object]) -> int:
    """Do something to each of what is found; how many there were to whom it was done."""
    with database.begin() as session:
        found = list(find(session, _AT_ONCE))
    done = 0
    for one in found:
        # Somebody may have been faster, or have begun to need it.
        with suppress(NotFoundError, ConflictError), database.begin() as session:
            done += bool(do(session, one))
    return done


def _no_job(job_id: UUID) -> NotFoundError:
    return NotFoundError(f"There is no job {job_id}.")


def _expired_jobs(session: Session, limit: int) -> Iterable[Job]:
    return session.scalars(select(Job).where(Job.expires_at <= func.now(), Job.state.in_(FINISHED)).limit(limit)).all()


def _sweep_job(session: Session, job: Job) -> bool:
    purge_job(session, job.id, actor=audit.SERVICE, owner_id=job.owner_id)
    return True


def _sweep_upload(session: Session, upload: uploads.Row, *, kind: Kind) -> bool:
    # The same bytes may just have come again, to be kept longer: whoever takes them up holds this lock too.
    locks.content(session, upload.sha256 or "")
    if not uploads.is_expired(session, kind, upload.id):
        return False
    uploads.delete(session, kind, upload.id, owner_id=upload.owner_id)
    audit.record(session, audit.SERVICE, f"{kind}.delete", upload.id, name=upload.name)
    return True

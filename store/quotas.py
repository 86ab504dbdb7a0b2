"""How much of the service one owner may use: stored bytes, and unfinished jobs.

What jobs make counts as stored. It is known only when they end, and none shall fail for it then; so an owner who has
gone beyond the limit gets no further job, until something is deleted.

A limit is looked at under `owners.lock`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from store import owners
from store.errors import StorageQuotaError, TooManyJobsError
from store.states import UNFINISHED
from store.tables import Artifact, Dataset, Job, Model, PartialUpload

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session


class Usage(NamedTuple):
    """What an owner uses now.

    Attributes:
        stored_bytes: Models, datasets, artifacts, and the announced size of files that arrive in parts.
        unfinished_jobs: Queued and running.
    """

    stored_bytes: int
    unfinished_jobs: int


def usage(session: Session, owner_id: UUID) -> Usage:
    """What an owner uses now."""
    return Usage(*session.execute(select(_stored_bytes(owner_id), _unfinished_jobs(owner_id))).one())


def check_storage(session: Session, owner_id: UUID, max_bytes: int | None, *, more: int = 0) -> None:
    """Whether the owner may store what this transaction stores, and `more` bytes besides.

    Call it before anything is read, with what is announced as `more`, and once more in the transaction that stores it,
    after the row was written.

    Raises:
        StorageQuotaError: If not; the transaction must then be rolled back.
    """
    if max_bytes is None:
        return
    owners.lock(session, owner_id)
    stored = session.scalar(select(_stored_bytes(owner_id))) or 0
    if stored + more > max_bytes:
        raise StorageQuotaError(
            f"This would take {stored + more:,} bytes; the owner of this key may store {max_bytes:,}.",
            hint="Delete models, data or jobs that are no longer needed.",
        )


def check_jobs(session: Session, owner_id: UUID, max_jobs: int | None) -> None:
    """Whether the owner may have the unfinished jobs that there are now, the one that was just queued among them.

    Raises:
        TooManyJobsError: If not; the transaction must then be rolled back.
    """
    if max_jobs is None:
        return
    owners.lock(session, owner_id)
    if (session.scalar(select(_unfinished_jobs(owner_id))) or 0) > max_jobs:
        raise TooManyJobsError(
            f"The owner of this key may have {max_jobs:,} unfinished jobs.", hint="Submit it again when one has ended."
        )


def _stored_bytes(owner_id: UUID) -> ColumnElement[int]:
    parts = (
        select(func.sum(Model.size)).where(Model.owner_id == owner_id, Model.deleted_at.is_(None)),
        select(func.sum(Dataset.size)).where(Dataset.owner_id == owner_id, Dataset.deleted_at.is_(None)),
        select(func.sum(Artifact.size)).join(Job).where(Job.owner_id == owner_id),
        select(func.sum(PartialUpload.size)).where(
            PartialUpload.owner_id == owner_id, PartialUpload.result_id.is_(None), PartialUpload.error.is_(None)
        ),
    )
    first, *others = (func.coalesce(part.scalar_subquery(), 0) for part in parts)
    return sum(others, first)


def _unfinished_jobs(owner_id: UUID) -> ColumnElement[int]:
    jobs = select(func.count()).select_from(Job).where(Job.owner_id == owner_id, Job.state.in_(UNFINISHED))
    return jobs.scalar_subquery()

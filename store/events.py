"""What happened to a job, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sqlalchemy import insert, select

from store import notify
from store.tables import Job, JobEvent

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session


def add(session: Session, job: Job, kind: Literal["state", "progress"]) -> None:
    """Note how the job stands now, and wake those who wait for it when the transaction commits."""
    session.execute(
        insert(JobEvent).values(
            job_id=job.id,
            kind=kind,
            state=job.state,
            stage=job.stage,
            progress=job.progress,
            message=job.message,
            attempt=job.attempt,
        )
    )
    notify.send(session, job.id)


def list_events(session: Session, job_id: UUID, *, after: int = 0, limit: int = 1000) -> list[JobEvent]:
    """Up to `limit` events with an id above `after`, oldest first."""
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after)
    return list(session.scalars(query.order_by(JobEvent.id).limit(limit)))

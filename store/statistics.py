"""Figures about all jobs, for whoever watches the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from store.tables import Job

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from octet.wire import JobState


def jobs_by_state(session: Session) -> dict[JobState, int]:
    """How many jobs are in each state; a state without jobs is absent."""
    return dict(session.execute(select(Job.state, func.count()).group_by(Job.state)).all())


def queue_age(session: Session) -> float:
    """Seconds that the job queued longest has waited; 0 if none is queued."""
    age = func.extract("epoch", func.now() - func.min(Job.queued_at))
    return float(session.scalar(select(age).where(Job.state == "queued")) or 0.0)

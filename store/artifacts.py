"""The files that jobs made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from store.errors import NotFoundError
from store.tables import Artifact, Job

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session


def list_for(session: Session, job_id: UUID) -> list[Artifact]:
    """A job's artifacts, by name."""
    return list(session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)))


def get(session: Session, artifact_id: UUID, *, owner_id: UUID) -> Artifact:
    """An artifact.

    Raises:
        NotFoundError: If the owner has none of that id.
    """
    theirs = select(Artifact).join(Job).where(Artifact.id == artifact_id, Job.owner_id == owner_id)
    artifact = session.scalar(theirs)
    if artifact is None:
        raise NotFoundError(f"There is no artifact {artifact_id}.")
    return artifact

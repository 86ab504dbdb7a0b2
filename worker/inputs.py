"""A job's model and data, copied out of the database to where its child may read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from octet.recipe import Recipe
from store import blobs, uploads
from store.errors import ContentMismatchError
from worker.protocol import Assignment

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from store.database import Database
    from store.tables import Job
    from store.uploads import Kind

_FOR_THE_CHILD = 0o644  # which may be another user; nobody else gets as far as its scratch

_log = structlog.get_logger()


def fetch(database: Database, job: Job, scratch: Path) -> tuple[Assignment, str]:
    """Copy the job's files into `scratch`.

    Returns:
        The child's assignment, and the model's sha-256.

    Raises:
        NotFoundError: If one of them has been deleted.
        ContentMismatchError: If what is stored is damaged.
    """

    def copy(kind: Kind, upload_id: UUID, name: str) -> tuple[Path, str]:
        path = scratch / name
        with database.begin() as session:
            sha256 = uploads.get(session, kind, upload_id, owner_id=job.owner_id).sha256
            assert sha256 is not None  # noqa: S101 - for mypy: only deleted uploads have none
            blobs.copy_to(session, sha256, path)
        path.chmod(_FOR_THE_CHILD)
        return path, sha256

    model, model_sha256 = copy("model", job.model_id, "model.pt2")
    assignment = Assignment(
        model=model,
        calibration=copy("dataset", job.calibration_id, "calibration")[0] if job.calibration_id else None,
        evaluation=copy("dataset", job.evaluation_id, "evaluation")[0] if job.evaluation_id else None,
        recipe=Recipe.model_validate(job.recipe),
        output=scratch / "out",
        checkpoint=_checkpoint(database, job, scratch / "checkpoint"),
    )
    return assignment, model_sha256


def _checkpoint(database: Database, job: Job, path: Path) -> Path:
    """Where the checkpoint is, if an attempt before this one left a sound one, and where it will be."""
    if job.checkpoint_sha256 is not None:
        try:
            with database.begin() as session:
                blobs.copy_to(session, job.checkpoint_sha256, path)
            path.chmod(_FOR_THE_CHILD)
        except ContentMismatchError as error:
            _log.warning("the checkpoint is of no use; training begins anew", error=str(error))
            path.unlink()
    return path

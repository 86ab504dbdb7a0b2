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
    from worker.alarm import Alarm

CHECKPOINT = "checkpoint"
_FOR_THE_CHILD = 0o644  # which may be another user; nobody else gets as far as its scratch

_log = structlog.get_logger()


def fetch(database: Database, job: Job, scratch: Path, alarm: Alarm) -> tuple[Assignment, str]:
    """Copy the job's files into `scratch`.

    Returns:
        The child's assignment, and the model's sha-256.

    Raises:
        Interrupted: If the alarm rings first.
        NotFoundError: If one of them has been deleted.
        ContentMismatchError: If what is stored is damaged.
    """

    def copy(sha256: str, path: Path) -> None:
        with database.begin() as session, path.open("wb") as file:
            for piece in blobs.read_whole(session, sha256):
                alarm.heed()
                file.write(piece)
        path.chmod(_FOR_THE_CHILD)

    def copy_upload(kind: Kind, upload_id: UUID, name: str) -> tuple[Path, str]:
        with database.begin() as session:
            sha256 = uploads.get(session, kind, upload_id, owner_id=job.owner_id).sha256
        assert sha256 is not None  # noqa: S101 - for mypy: only deleted uploads have none
        copy(sha256, scratch / name)
        return scratch / name, sha256

    def copy_checkpoint(sha256: str, path: Path) -> None:
        try:
            copy(sha256, path)
        except ContentMismatchError as error:
            _log.warning("the checkpoint is of no use; training begins anew", error=str(error))
            path.unlink()

    model, model_sha256 = copy_upload("model", job.model_id, "model.pt2")
    assignment = Assignment(
        model=model,
        calibration=copy_upload("dataset", job.calibration_id, "calibration")[0] if job.calibration_id else None,
        evaluation=copy_upload("dataset", job.evaluation_id, "evaluation")[0] if job.evaluation_id else None,
        recipe=Recipe.model_validate(job.recipe),
        output=scratch / "out",
        checkpoint=scratch / CHECKPOINT,
    )
    if job.checkpoint_sha256 is not None:
        copy_checkpoint(job.checkpoint_sha256, assignment.checkpoint)
    return assignment, model_sha256

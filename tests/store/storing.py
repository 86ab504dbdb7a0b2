"""What the tests of the store do: upload, queue a job, and several things at the same moment."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Barrier
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from octet.recipe import Recipe
from store import jobs, keys, leases, uploads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.orm import Session

    from store.database import Database
    from store.tables import Job

CONTENT = b"weights"


def upload(session: Session, kind: uploads.Kind = "model", content: bytes = CONTENT) -> uploads.Row:
    return uploads.create(
        session,
        kind,
        name="digits",
        sha256=sha256(content).hexdigest(),
        size=len(content),
        spec={"inputs": []},
        stream=io.BytesIO(content),
    )[0]


def queue(session: Session, model_id: UUID | None = None, **values: Any) -> Job:
    request = {
        "model_id": model_id or upload(session).id,
        "calibration_id": None,
        "evaluation_id": None,
        "recipe": Recipe().model_dump(mode="json"),
        "name": None,
        "key_id": values.get("key_id") or keys.create(session, "test")[0].id,
        "idempotency_key": None,
        "request_sha256": "0" * 64,
    }
    return jobs.create(session, **{**request, **values})[0]


def start(session: Session, job_id: UUID | None = None, lease_seconds: float = 60) -> Job:
    job = leases.claim(session, job_id or queue(session).id, uuid4(), lease_seconds)
    assert job is not None
    return job


def keep_checkpoint(session: Session, job: Job, path: Path) -> bool:
    with path.open("rb") as file:
        return leases.keep_checkpoint(session, job.id, job.attempt, file)


def together(database: Database, *functions: Callable[[Session], object]) -> list[Any]:
    """Calls the functions at the same moment, each in a transaction of its own; gives their results or errors."""
    ready = Barrier(len(functions))

    def call(function: Callable[[Session], object]) -> object:
        try:
            with database.begin() as session:
                session.connection()
                ready.wait()
                return function(session)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(call, functions))

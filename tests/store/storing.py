"""What the tests of the store do: upload, queue a job, and several things at the same moment."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from threading import Barrier
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from sqlalchemy import func, text, update

from octet.recipe import Recipe
from store import jobs, keys, leases, uploads, workers
from store.tables import FIRST_OWNER, Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.orm import Session

    from store.database import Database

CONTENT = b"weights"
OWNER = UUID(FIRST_OWNER)


def upload(
    session: Session, kind: uploads.Kind = "model", content: bytes = CONTENT, owner_id: UUID = OWNER
) -> uploads.Row:
    return uploads.create(
        session,
        kind,
        owner_id=owner_id,
        name="digits",
        sha256=sha256(content).hexdigest(),
        size=len(content),
        spec={"inputs": []},
        stream=io.BytesIO(content),
    )[0]


def queue(session: Session, model_id: UUID | None = None, **values: Any) -> Job:
    request = {
        "owner_id": OWNER,
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


def run_out(session: Session, job_id: UUID) -> None:
    """Let the lease of a job run out."""
    session.execute(update(Job).where(Job.id == job_id).values(lease_until=func.now() - timedelta(seconds=1)))


def reconcile(session: Session, *, max_attempts: int = 3) -> None:
    """As a worker does that has been heard of lately."""
    worker = uuid4()
    workers.register(session, worker, "host", 1, "0", 1, [])
    leases.reconcile(session, worker, lease_seconds=30, max_attempts=max_attempts)


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


def wait_until_one_waits(database: Database) -> None:
    """Until somebody waits for a lock of somebody else."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    end = time.monotonic() + 30
    while True:
        with database.begin() as session:
            if session.scalar(waiting):
                return
        assert time.monotonic() < end
        time.sleep(0.01)

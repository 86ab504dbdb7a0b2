"""Jobs to do and workers to do them."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import psutil

import octet
from octet.wire import FINISHED
from server import part
from store import jobs, keys, uploads, workers
from store.events import list_events
from store.hints import Hints
from store.tables import FIRST_OWNER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from store.database import Database
    from store.settings import Settings
    from store.tables import Job, JobEvent, Worker

T = TypeVar("T")

OWNER = UUID(FIRST_OWNER)

# Jobs: one is over in a moment, one lasts long enough to be caught at it, one lasts until it is ended.
QUICK = {"method": "dynamic", "measure": {"seconds": 0.05, "layers": False}}
LONGER = {"method": "dynamic", "measure": {"seconds": 2, "layers": False, "batch_sizes": [4096]}}
ENDLESS = {"method": "dynamic", "measure": {"seconds": 600, "layers": False, "batch_sizes": [4096, 4095, 4094, 4093]}}


def wait_until(condition: Callable[[], T], seconds: float = 60.0) -> T:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
    return value


class Desk:
    """Where jobs are submitted, as the API does it, and looked after."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.hints = Hints(settings.redis_url)

    def submit(self, model: Path, recipe: dict[str, Any], *, hint: bool = True) -> UUID:
        content = model.read_bytes()
        spec = octet.load(model).spec.model_dump(mode="json")
        with self.database.begin() as session:
            sha256 = hashlib.sha256(content).hexdigest()
            upload, _ = uploads.create(
                session,
                "model",
                owner_id=OWNER,
                name="m",
                sha256=sha256,
                size=len(content),
                spec=spec,
                stream=io.BytesIO(content),
            )
            job, _ = jobs.create(
                session,
                owner_id=OWNER,
                model_id=upload.id,
                calibration_id=None,
                evaluation_id=None,
                recipe=octet.Recipe.parse(recipe).model_dump(mode="json"),
                name=None,
                key_id=keys.create(session, "test")[0].id,
                idempotency_key=None,
                request_sha256="",
            )
        if hint:
            self.hints.publish(job.id)
        return job.id

    def job(self, job_id: UUID) -> Job:
        with self.database.begin() as session:
            return jobs.get(session, job_id, owner_id=OWNER)

    def cancel(self, job_id: UUID) -> None:
        with self.database.begin() as session:
            jobs.cancel(session, job_id, owner_id=OWNER)

    def events(self, job_id: UUID) -> list[JobEvent]:
        with self.database.begin() as session:
            return list_events(session, job_id)

    def until_measuring(self, job_id: UUID, *, attempt: int = 1) -> Job:
        return self._until(job_id, lambda job: job.stage == "measure" and job.attempt == attempt)

    def until_finished(self, job_id: UUID, seconds: float = 60.0) -> Job:
        return self._until(job_id, lambda job: job.state in FINISHED, seconds)

    def workers(self) -> list[tuple[Worker, list[UUID]]]:
        with self.database.begin() as session:
            return workers.list_alive(session, 60)

    def _until(self, job_id: UUID, condition: Callable[[Job], bool], seconds: float = 60.0) -> Job:
        return wait_until(lambda: job if condition(job := self.job(job_id)) else None, seconds)


class WorkerProcess:
    """`octet-server worker`, with settings that make it quick to notice things."""

    def __init__(
        self, settings: Settings, log: Path, *, environment: Mapping[str, str] | None = None, **overrides: str
    ) -> None:
        self.log = log
        values = {
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "LEASE_SECONDS": "2",
            "HEARTBEAT_SECONDS": "0.1",
            "RECONCILE_SECONDS": "0.2",
            "MAX_ATTEMPTS": "2",
            "GRACE_SECONDS": "0",
            **overrides,
        }
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server", "worker"],
                # Its own temporary directory: its jobs wait for no one else on this machine to measure.
                env=part.environment(
                    TMPDIR=str(log.parent),
                    **{f"OCTET_{name}": value for name, value in values.items()},
                    **(environment or {}),
                ),
                stdout=out,
                stderr=out,
            )
        self.pid = self._process.pid

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def busy_child(self) -> psutil.Process:
        """The process that does a job: the one whose scratch directory has a model in it."""
        return busy_child(self.pid)

    def warm(self) -> psutil.Process:
        """The process that jobs are forked from, once the last job's are gone."""

        def lone() -> psutil.Process | None:
            children = [child for child in self.children() if child.name() != "bwrap"]
            return children[0] if len(children) == 1 else None

        return wait_until(lone)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(30)

    def stop(self) -> int:
        if self._process.poll() is None:
            self.send(signal.SIGTERM)
        return self.wait()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None


def busy_child(worker: int) -> psutil.Process:
    """The process that does a job, of the worker with this process id."""
    children = psutil.Process(worker).children(recursive=True)
    return next(child for child in children if _is_busy(child) is True)


def _is_busy(child: psutil.Process) -> bool | None:
    """Whether it does a job, which it has in its scratch directory; None: it is dying, so it does nothing any more."""
    try:
        # The process that checks what it saves is in its directory as well, and in its group.
        return Path(child.cwd(), "model.pt2").exists() and os.getpgid(child.pid) == child.pid
    except (psutil.Error, OSError):
        return None

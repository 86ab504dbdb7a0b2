"""Brings what a child says of its progress into the database, no more often than people can read it.

It has a thread for that: whoever watches the child must not wait for Postgres.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Self, get_args

import structlog

from octet.errors import OctetError
from octet.progress import Stage
from store import leases
from store.database import UNAVAILABLE
from store.tracing import tracer
from worker.alarm import Interrupted
from worker.artifacts import open_plain
from worker.rounds import Rounds

if TYPE_CHECKING:
    from pathlib import Path

    from octet.progress import Progress
    from store.database import Database
    from store.tables import Job

SECONDS = 0.25  # between two times that it writes
_STAGES: tuple[Stage, ...] = get_args(Stage)
_REST = 9  # times as long as it took to keep a checkpoint, before the next: a tenth of the time goes into it at most

_log = structlog.get_logger()


class Reporter:
    """The progress of one attempt, from `with` to the end of its block.

    What is lost while Postgres is away does no harm: the next step says more, and so does the next checkpoint.

    Attributes:
        stage: What the child is doing, as far as it has said.
    """

    def __init__(self, database: Database, job: Job, checkpoint: Path, *, limit: int) -> None:
        self.stage: Stage | None = None
        self._database = database
        self._its = (job.id, job.attempt)
        self._checkpoint = checkpoint
        self._limit = limit
        self._lock = Lock()
        self._steps: dict[str, Progress] = {}  # what is not written yet: of each stage the last
        self._advanced = False  # since a checkpoint was kept
        self._rested = 0.0
        self._rounds = Rounds("reporter", self._write, seconds=SECONDS)

    def __enter__(self) -> Self:
        self._rounds.start()
        return self

    def __exit__(self, _: object, reason: BaseException | None, __: object) -> None:
        """Write what has come to pass; what the next attempt can go on from too, should there be one."""
        self._rounds.stop()
        self._tell()
        over = reason is None or (isinstance(reason, Interrupted) and reason.reason != "stopping")
        if self._advanced and not over:
            self._keep()

    def hear(self, progress: Progress) -> None:
        """Take a step in. Stages do not go back, whatever the child says: each becomes an event, and a span."""
        if self.stage is not None and _STAGES.index(progress.stage) < _STAGES.index(self.stage):
            progress = progress.model_copy(update={"stage": self.stage})
        if progress.stage != self.stage:
            self.stage = progress.stage
            tracer().enter(progress.stage)
        with self._lock:
            self._steps[progress.stage] = progress

    def hear_of_checkpoint(self) -> None:
        """Take in that there is a new one."""
        self._advanced = True

    def _write(self) -> None:
        self._tell()
        if self._advanced and time.monotonic() >= self._rested:
            began = time.monotonic()
            self._keep()
            self._rested = time.monotonic() + _REST * (time.monotonic() - began)

    def _tell(self) -> None:
        with self._lock:
            steps, self._steps = self._steps, {}
        if not steps:
            return
        try:
            with self._database.begin() as session:
                for step in steps.values():
                    leases.record_progress(session, *self._its, step.stage, step.fraction, step.message)
        except UNAVAILABLE as error:
            _log.warning("progress could not be written", error=str(error))

    def _keep(self) -> None:
        self._advanced = False
        try:
            with open_plain(self._checkpoint, limit=self._limit) as file, self._database.begin() as session:
                leases.keep_checkpoint(session, *self._its, file)
        except (OctetError, OSError, *UNAVAILABLE) as error:
            _log.warning("a checkpoint could not be kept", error=str(error))

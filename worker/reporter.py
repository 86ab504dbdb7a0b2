"""Brings a child's progress into the database, no more often than people can read it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from store import leases
from store.database import UNAVAILABLE
from store.tracing import tracer

if TYPE_CHECKING:
    from uuid import UUID

    from octet.progress import Progress
    from store.database import Database

SECONDS = 0.25  # at most so often within a stage; a new stage is told at once

_log = structlog.get_logger()


class Reporter:
    """The progress of one attempt. It never goes back, whatever the child says.

    Attributes:
        stage: What the child is doing, as far as it has said.
    """

    def __init__(self, database: Database, job_id: UUID, attempt: int) -> None:
        self.stage: str | None = None
        self._database = database
        self._job_id = job_id
        self._attempt = attempt
        self._waiting: Progress | None = None
        self._fraction = 0.0
        self._next = 0.0

    def hear(self, progress: Progress) -> None:
        """Take a step in; `tell` writes it when it is time."""
        self._fraction = max(self._fraction, progress.fraction)
        if progress.stage != self.stage:
            self.stage, self._next = progress.stage, 0.0
            tracer().enter(progress.stage)
        self._waiting = progress

    def due(self) -> float | None:
        """Seconds until there is something to `tell`; None: nothing waits."""
        return None if self._waiting is None else max(0.0, self._next - time.monotonic())

    def tell(self) -> None:
        """Write what waits, if it is time. A step that is lost does no harm: the next one says more."""
        if self.due() != 0.0 or self._waiting is None:
            return
        step, self._waiting = self._waiting, None
        self._next = time.monotonic() + SECONDS
        try:
            with self._database.begin() as session:
                leases.record_progress(session, self._job_id, self._attempt, step.stage, self._fraction, step.message)
        except UNAVAILABLE as error:
            _log.warning("progress could not be written", error=str(error))

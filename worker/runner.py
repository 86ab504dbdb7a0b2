"""The slots of a worker: whoever holds a hint calls `run` from a thread of its own."""

from __future__ import annotations

from threading import Event, Lock
from typing import TYPE_CHECKING

import structlog
from structlog.contextvars import bound_contextvars

from store import leases
from store.database import UNAVAILABLE
from worker.alarm import Alarm
from worker.attempt import HANDED_BACK, Attempt

if TYPE_CHECKING:
    from uuid import UUID

    from store.database import Database
    from store.settings import Settings
    from store.tables import Job
    from worker.spares import Spares

_log = structlog.get_logger()


class Runner:
    """Claims jobs and does them, one per calling thread.

    Attributes:
        handed_back: Jobs that this worker leaves to others as it stops: their hints must be published again.
    """

    def __init__(self, database: Database, settings: Settings, spares: Spares, worker_id: UUID) -> None:
        self.handed_back: list[UUID] = []
        self._database = database
        self._settings = settings
        self._spares = spares
        self._worker_id = worker_id
        self._stopping = Event()
        self._alarms: set[Alarm] = set()
        self._lock = Lock()

    @property
    def idle(self) -> bool:
        """Whether a slot is free."""
        return len(self._alarms) < self._settings.worker_slots

    def run(self, job_id: UUID) -> None:
        """Do a job if it is still queued: a hint may come twice, or late."""
        alarm = Alarm()
        with self._lock:
            self._alarms.add(alarm)
        try:
            if self._stopping.is_set():
                self.handed_back.append(job_id)
            elif job := self._claim(job_id):
                self._attempt(job, alarm)
        finally:
            with self._lock:
                self._alarms.remove(alarm)
            alarm.close()

    def stop(self) -> None:
        """Take no more jobs, and hand back at once those that run."""
        self._stopping.set()
        with self._lock:
            for alarm in self._alarms:
                alarm.ring("stopping")

    def _claim(self, job_id: UUID) -> Job | None:
        try:
            with self._database.begin() as session:
                return leases.claim(session, job_id, self._worker_id, self._settings.lease_seconds)
        except UNAVAILABLE as error:
            _log.warning("the job could not be claimed; its hint will come again", job_id=str(job_id), error=str(error))
            return None

    def _attempt(self, job: Job, alarm: Alarm) -> None:
        with bound_contextvars(job_id=str(job.id), attempt=job.attempt):
            _log.info("attempt begins", recipe=job.recipe.get("method"), engine=job.recipe.get("engine"))
            child = self._spares.take()
            try:
                attempt = Attempt(self._database, self._settings, job, child, alarm)
                if attempt.run() is HANDED_BACK:
                    self.handed_back.append(job.id)
            finally:
                child.close()
                # Not before: loading the next torch would disturb the measuring, and slow the check of the artifact.
                self._spares.replace(child)

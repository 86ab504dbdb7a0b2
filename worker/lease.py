"""Keeps the lease of a running job alive."""

from __future__ import annotations

from contextvars import copy_context
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

import structlog

from store import leases
from store.database import UNAVAILABLE

if TYPE_CHECKING:
    from uuid import UUID

    from store.database import Database
    from store.settings import Settings
    from worker.alarm import Alarm

_log = structlog.get_logger()


class Lease:
    """A thread that renews the lease every heartbeat, from `with` to the end of its block.

    It rings the alarm when the job was cancelled or belongs to somebody else. While Postgres does not answer, however
    long, the job goes on: nobody else can take it either. If only this worker cannot reach Postgres, somebody else will
    have the job when it can again, and the attempt number keeps it from writing anything.
    """

    def __init__(self, database: Database, settings: Settings, job_id: UUID, attempt: int, alarm: Alarm) -> None:
        self._database = database
        self._settings = settings
        self._job_id = job_id
        self._attempt = attempt
        self._alarm = alarm
        self._done = Event()
        # In the caller's context, so that its lines in the log name the job as well.
        self._thread = Thread(target=copy_context().run, args=(self._keep,), name=f"lease-{job_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._done.wait(self._settings.heartbeat_seconds):
            try:
                self._renew()
            except UNAVAILABLE as error:
                _log.warning("the lease could not be renewed", error=str(error))

    def _renew(self) -> None:
        with self._database.begin() as session:
            state = leases.renew(session, self._job_id, self._attempt, self._settings.lease_seconds)
        if state is None:
            self._alarm.ring("lost")
        elif state == "cancelling":
            self._alarm.ring("cancelled")

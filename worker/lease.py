"""Keeps the lease of a running job alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from store import leases
from worker.rounds import Rounds

if TYPE_CHECKING:
    from uuid import UUID

    from store.database import Database
    from store.settings import Settings
    from worker.alarm import Alarm


class Lease:
    """Renews the lease every heartbeat, from `with` to the end of its block.

    It rings the alarm when the job was cancelled or belongs to somebody else. While Postgres does not answer, however
    long, the job goes on: nobody else can take it either. If only this worker cannot reach Postgres, somebody else will
    have the job when it can again, and the attempt number keeps it from writing anything.
    """

    def __init__(self, database: Database, settings: Settings, job_id: UUID, attempt: int, alarm: Alarm) -> None:
        self._database = database
        self._seconds = settings.lease_seconds
        self._job_id = job_id
        self._attempt = attempt
        self._alarm = alarm
        self._rounds = Rounds("lease", self._renew, seconds=settings.heartbeat_seconds)

    def __enter__(self) -> Self:
        self._rounds.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rounds.stop()

    def _renew(self) -> None:
        with self._database.begin() as session:
            state = leases.renew(session, self._job_id, self._attempt, self._seconds)
        if state is None:
            self._alarm.ring("lost")
        elif state == "cancelling":
            self._alarm.ring("cancelled")

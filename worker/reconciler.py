"""Puts right what killed processes left behind. Every worker has one; Postgres lets one of them work at a time."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import structlog

from octet.version import __version__
from store import leases, workers
from store.database import UNAVAILABLE
from worker.rounds import Rounds

if TYPE_CHECKING:
    from uuid import UUID

    from store.database import Database, Session
    from store.settings import Settings
    from worker.runner import Runner
    from worker.spares import Spares

_STOP_SECONDS = 2.0

_log = structlog.get_logger()


class Reconciler:
    """Every so often: tends the spares, looks after lost jobs, shows that the worker is alive, and looks for work.

    The last is what makes sure that a job is done. A hint on Redis only makes it begin sooner.
    """

    def __init__(
        self, database: Database, settings: Settings, *, spares: Spares, runner: Runner, worker_id: UUID
    ) -> None:
        self._database = database
        self._settings = settings
        self._spares = spares
        self._runner = runner
        self._worker_id = worker_id
        self._rounds = Rounds("reconciler", self._round, seconds=settings.reconcile_seconds)

    def start(self) -> None:
        """Begin, with a first round at once."""
        self._rounds.start()

    def stop(self) -> None:
        """End, and take the worker off the list."""
        self._rounds.stop(wait=_STOP_SECONDS)
        try:
            with self._database.begin() as session:
                workers.forget(session, self._worker_id)
        except UNAVAILABLE as error:
            _log.warning("the worker could not be taken off the list; it will expire", error=str(error))

    def _round(self) -> None:
        self._spares.tend()
        with self._database.begin() as session:
            # Before it shows that this worker is alive: a worker that was away itself cannot tell who is lost.
            leases.reconcile(
                session,
                self._worker_id,
                lease_seconds=self._settings.lease_seconds,
                max_attempts=self._settings.max_attempts,
            )
            self._register(session)
        self._runner.look()

    def _register(self, session: Session) -> None:
        workers.register(
            session,
            self._worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            slots=self._settings.worker_slots,
            engines=self._spares.engines,
            sandbox=self._spares.sandbox,
        )

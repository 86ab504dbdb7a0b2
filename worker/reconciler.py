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

    from store.database import Database
    from store.hints import Hints
    from store.settings import Settings
    from worker.runner import Runner
    from worker.spares import Spares

_log = structlog.get_logger()


class Reconciler:
    """Tends the spares, shows that the worker is alive, and looks after lost jobs, every so often."""

    def __init__(
        self,
        database: Database,
        hints: Hints,
        settings: Settings,
        *,
        spares: Spares,
        runner: Runner,
        worker_id: UUID,
    ) -> None:
        self._database = database
        self._hints = hints
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
        self._rounds.stop()
        try:
            with self._database.begin() as session:
                workers.forget(session, self._worker_id)
        except UNAVAILABLE as error:
            _log.warning("the worker could not be taken off the list; it will expire", error=str(error))

    def _round(self) -> None:
        self._spares.tend()
        self._register()
        with self._database.begin() as session:
            unhinted = leases.reconcile(
                session,
                lease_seconds=self._settings.lease_seconds,
                max_attempts=self._settings.max_attempts,
                hint_after_seconds=self._settings.hint_seconds,
            )
        # A hint only wakes whoever is idle. While this worker is busy it leaves them to those who are not, so that
        # hints do not pile up on Redis.
        if unhinted and self._runner.idle:
            published = [job_id for job_id in unhinted if self._hints.publish(job_id)]
            with self._database.begin() as session:
                leases.mark_hinted(session, published)

    def _register(self) -> None:
        with self._database.begin() as session:
            workers.register(
                session,
                self._worker_id,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=__version__,
                slots=self._settings.worker_slots,
                engines=self._spares.engines,
            )

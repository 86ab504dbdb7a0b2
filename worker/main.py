"""A worker process, from start to a clean stop."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from celery.worker import WorkController, state

from store import migrate
from store.database import UNAVAILABLE, Database
from store.hints import Hints
from worker.app import create_app
from worker.chores import CHORES, Chores
from worker.pool import SlotPool
from worker.reconciler import Reconciler
from worker.runner import Runner
from worker.sandbox.kernel import hide_from_jobs
from worker.spares import Spares

if TYPE_CHECKING:
    from store.settings import Settings

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_RETRY_SECONDS = 1.0

_log = structlog.get_logger()


def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT: then begin no more jobs, and hand back those that take longer than the grace.

    A second signal hands them back at once. Neither Postgres nor Redis has to be there, then or later.

    Returns:
        The exit status.
    """
    hide_from_jobs()
    worker_id = uuid4()
    database = Database(settings.database_url, pool_size=2 * settings.worker_slots + 1 + len(CHORES))
    hints = Hints(settings.redis_url)
    spares = Spares(settings)
    runner = Runner(database, settings, spares, worker_id)
    reconciler = Reconciler(database, settings, spares=spares, runner=runner, worker_id=worker_id)
    chores = Chores(database, settings)
    _stop_on_signals(runner)
    _log.info("worker starts", worker_id=str(worker_id), slots=settings.worker_slots)
    _wait_for_schema(database, runner)
    reconciler.start()
    chores.start()
    try:
        while not runner.stopping:
            _consume(settings, runner)
        runner.join()
    finally:
        chores.stop()
        reconciler.stop()
        spares.close()
        # Only now that this worker takes no more hints.
        for job_id in runner.handed_back:
            hints.publish(job_id)
        hints.close()
        database.close()
        _log.info("worker stopped", handed_back=len(runner.handed_back))
    return 0


def _wait_for_schema(database: Database, runner: Runner) -> None:
    """Wait for Postgres, and for a schema that is new enough: either may come after the workers."""
    while not runner.stopping:
        try:
            if migrate.is_current(database):
                return
            _log.warning("the database needs `octet-server migrate`; waiting")
        except UNAVAILABLE as error:
            _log.warning("the database is away; waiting", error=str(error))
        time.sleep(_RETRY_SECONDS)


def _consume(settings: Settings, runner: Runner) -> None:
    """Take hints until the worker is stopped, or until Celery finds itself at its wits' end with Redis.

    Celery's own program is not used: at SIGINT and SIGTERM it waits for tasks to end, where we hand jobs back.
    """
    app = create_app(settings.redis_url, runner)
    app.finalize()
    controller = WorkController(
        app=app,
        pool_cls=SlotPool,
        concurrency=settings.worker_slots,
        # What these do needs remote control or events, which are off; and Redis carries nothing but hints.
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    controller.start()
    if not runner.stopping:
        _log.warning("no longer taking hints; beginning again", status=controller.exitcode)
        time.sleep(_RETRY_SECONDS)


def _stop_on_signals(runner: Runner) -> None:
    def stop(*_: object) -> None:
        state.should_stop = 0  # the exit status; Celery's loop looks at it at least once a second
        runner.stop()

    for number in _STOP_SIGNALS:
        signal.signal(number, stop)

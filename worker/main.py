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
    from collections.abc import Iterable
    from uuid import UUID

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
    spares = Spares(settings)
    runner = Runner(database, settings, spares, worker_id)
    _stop_on_signals(runner)
    _log.info("worker starts", worker_id=str(worker_id), slots=settings.worker_slots)
    try:
        if _has_schema(database, runner):
            _work(database, settings, spares, runner, worker_id)
    finally:
        spares.close()
        _pass_on(runner.handed_back, settings)  # only now that this worker takes no more hints
        database.close()
        _log.info("worker stopped", handed_back=len(runner.handed_back))
    return 0


def _work(database: Database, settings: Settings, spares: Spares, runner: Runner, worker_id: UUID) -> None:
    reconciler = Reconciler(database, settings, spares=spares, runner=runner, worker_id=worker_id)
    chores = Chores(database, settings)
    reconciler.start()
    chores.start()
    try:
        while not runner.stopping:
            _consume(settings, runner)
        runner.join()
    finally:
        chores.stop()
        reconciler.stop()


def _pass_on(job_ids: Iterable[UUID], settings: Settings) -> None:
    hints = Hints(settings.redis_url)
    for job_id in job_ids:
        hints.publish(job_id)
    hints.close()


def _has_schema(database: Database, runner: Runner) -> bool:
    """Wait for Postgres, and for a schema that is new enough: either may come after the workers.

    Returns:
        False if the worker is stopped first.
    """
    while not runner.stopping:
        try:
            if migrate.is_current(database):
                return True
            _log.warning("the database needs `octet-server migrate`; waiting")
        except UNAVAILABLE as error:
            _log.warning("the database is away; waiting", error=str(error))
        time.sleep(_RETRY_SECONDS)
    return False


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

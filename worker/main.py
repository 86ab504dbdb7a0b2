"""A worker process, from start to a clean stop."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from celery.worker import WorkController, state

from store.database import Database
from store.hints import Hints
from worker.app import create_app
from worker.chores import CHORES, Chores
from worker.pool import SlotPool
from worker.reconciler import Reconciler
from worker.runner import Runner
from worker.spares import Spares

if TYPE_CHECKING:
    from store.settings import Settings

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger()


def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT, then hand back what is running.

    Returns:
        The exit status.
    """
    worker_id = uuid4()
    database = Database(settings.database_url, pool_size=2 * settings.worker_slots + 1 + len(CHORES))
    hints = Hints(settings.redis_url)
    spares = Spares(settings)
    runner = Runner(database, settings, spares, worker_id)
    reconciler = Reconciler(database, hints, settings, spares=spares, runner=runner, worker_id=worker_id)
    chores = Chores(database, settings)
    _stop_on_signals(runner)
    reconciler.start()
    chores.start()
    _log.info("worker starts", worker_id=str(worker_id), slots=settings.worker_slots)
    try:
        return _consume(settings, runner)
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


def _consume(settings: Settings, runner: Runner) -> int:
    """Celery's own program is not used: at SIGINT and SIGTERM it waits for tasks to end, where we hand jobs back."""
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
    return controller.exitcode or 0


def _stop_on_signals(runner: Runner) -> None:
    def stop(*_: object) -> None:
        for number in _STOP_SIGNALS:  # once is enough, and a second one must not interrupt the first
            signal.signal(number, signal.SIG_IGN)
        state.should_stop = 0  # the exit status; Celery's loop looks at it at least once a second
        runner.stop()

    for number in _STOP_SIGNALS:
        signal.signal(number, stop)

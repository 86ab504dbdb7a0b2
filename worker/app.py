"""The Celery application of a worker: one task, which hands a hint to the runner. It never loads torch."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from store.hints import TASK, make_celery

if TYPE_CHECKING:
    from celery import Celery

    from worker.runner import Runner


def create_app(redis_url: str, runner: Runner) -> Celery:
    """The application whose one task runs a job.

    A hint is acknowledged when the task begins, not when it ends: from then on the lease in Postgres makes sure of the
    job. Hints are not fetched ahead, or they would wait behind a long job while another worker has nothing to do.
    """
    app = make_celery(redis_url)
    app.conf.worker_disable_prefetch = True

    @app.task(name=TASK)  # type: ignore[untyped-decorator] # Celery ships no type information
    def run(job_id: str) -> None:
        runner.run(UUID(job_id))

    return app

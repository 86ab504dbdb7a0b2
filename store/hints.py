"""Hints: a message on Redis that says "there is a job", and nothing more.

Postgres owns the jobs, and workers look there for themselves every few seconds. A hint that is lost delays a job by no
more than that, one that comes twice finds the job taken. So nothing here has to be reliable, but it must never make
anyone wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from uuid import UUID

QUEUE = "octet"
TASK = "octet.run"
_SOCKET_SECONDS = 5.0
_PUBLISH_SECONDS = 1.0
_UNREACHABLE = (KombuError, RedisError, OSError)

_log = structlog.get_logger()


def make_celery(redis_url: str) -> Celery:
    """The Celery application, for those who publish hints and those who take them."""
    app = Celery("octet", broker=_broker_url(redis_url), set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        # The lease, not the message, makes sure of a job. Late acks would let Redis run a long job twice.
        task_acks_late=False,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        # With remote control on, a worker ends itself when Redis restarts.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        # Also where Redis answers, but with an error: its disk is full, or it has run out of memory.
        broker_channel_error_retry=True,
        broker_transport_options={
            "socket_timeout": _SOCKET_SECONDS,
            "socket_connect_timeout": _SOCKET_SECONDS,
            "socket_keepalive": True,
        },
    )
    return app


class Hints:
    """Publishes hints."""

    def __init__(self, redis_url: str) -> None:
        self._celery = make_celery(redis_url)
        self._celery.conf.broker_transport_options = {
            "socket_timeout": _PUBLISH_SECONDS,
            "socket_connect_timeout": _PUBLISH_SECONDS,
            "max_retries": 0,
        }

    def publish(self, job_id: UUID) -> bool:
        """Publish the hint of a job; False, within about two seconds, if Redis cannot take it."""
        try:
            self._celery.send_task(TASK, args=[str(job_id)], queue=QUEUE, retry=False, ignore_result=True)
        except _UNREACHABLE as error:
            _log.warning("could not publish a hint; the job begins a little later", job=str(job_id), error=str(error))
            return False
        return True

    def ping(self) -> bool:
        """Whether Redis answers, within about two seconds."""
        try:
            with self._celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=0)
                return bool(connection.default_channel.client.ping())
        except _UNREACHABLE:
            return False

    def close(self) -> None:
        """Close the connections to Redis."""
        self._celery.close()


def _broker_url(redis_url: str) -> str:
    """The URL as kombu spells it."""
    if redis_url.startswith("unix://"):
        return "redis+socket://" + redis_url.removeprefix("unix://")
    return redis_url

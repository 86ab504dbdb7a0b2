"""Waking those who wait for a job: Postgres's LISTEN and NOTIFY, sent when the change is committed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
import structlog
from sqlalchemy import func, select

from store.database import conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from sqlalchemy.orm import Session

CHANNEL = "octet_jobs"
_RECONNECT_SECONDS = 1.0

_log = structlog.get_logger()


def send(session: Session, job_id: UUID) -> None:
    """Tell every listener that a job has changed, once this transaction is committed."""
    session.execute(select(func.pg_notify(CHANNEL, str(job_id))))


class Watch:
    """Whether a job has changed since it was last asked."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Let `wait` return."""
        self._changed.set()

    async def wait(self, timeout: float) -> bool:  # noqa: ASYNC109 - running out of time is an answer here, not an error
        """Wait until the job changes, or for `timeout` seconds; whether it may have changed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout)
        changed = self._changed.is_set()
        self._changed.clear()
        return changed


class JobWaiter:
    """One listening connection for any number of waiters, in one event loop.

    While the connection is lost, waiters run into their time-outs and look for themselves.
    """

    def __init__(self, database_url: str) -> None:
        self._url = conninfo(database_url)
        self._watches: dict[str, set[Watch]] = defaultdict(set)  # by job id, as notifications spell it
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._listen_always())

    async def stop(self) -> None:
        """Stop listening, and wake whoever waits."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._wake_all()

    @contextmanager
    def watch(self, job_id: UUID) -> Iterator[Watch]:
        """Watch a job. Begin before reading its state, and no change between the reading and the waiting is missed."""
        watch, key = Watch(), str(job_id)
        self._watches[key].add(watch)
        try:
            yield watch
        finally:
            self._watches[key].discard(watch)
            if not self._watches[key]:
                del self._watches[key]

    async def _listen_always(self) -> None:
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                _log.warning("lost the connection that listens for job changes", error=str(error).strip())
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=5)
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._wake_all()  # whatever happened while nobody listened
            async for notification in connection.notifies():
                for watch in self._watches.get(notification.payload, ()):
                    watch.wake()

    def _wake_all(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()

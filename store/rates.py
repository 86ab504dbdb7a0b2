"""How many requests a key has had this minute, counted in Redis for every API process together.

Counting must never make a request wait. While Redis is away each process counts for itself, and looks for Redis again
now and then: one request at a time, and for a moment.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog
from limits.aio.storage import MemoryStorage, RedisStorage
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from uuid import UUID

WINDOW_SECONDS = 60
"""A minute by the clock."""

_PATIENCE_SECONDS = 0.1
_AWAY_SECONDS = 5.0

_log = structlog.get_logger()


class Rates:
    """The counters. They belong to one event loop."""

    def __init__(self, redis_url: str) -> None:
        self._pool = ConnectionPool.from_url(
            redis_url,
            socket_timeout=_PATIENCE_SECONDS,
            socket_connect_timeout=_PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        options: dict[str, Any] = {"connection_pool": self._pool}  # the library's annotation leaves it out
        self._shared = RedisStorage("async+redis://", implementation="redispy", **options)
        self._own = MemoryStorage()
        self._away_until: float | None = None  # None: it answers

    async def count(self, key_id: UUID) -> tuple[int, int]:
        """Count a request.

        Returns:
            How many the key has had in this window, this one among them, and the seconds until the next window.
        """
        window, passed = divmod(int(time.time()), WINDOW_SECONDS)
        return await self._increase(f"{key_id}/{window}"), WINDOW_SECONDS - passed

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._pool.disconnect()

    async def _increase(self, name: str) -> int:
        if self._is_worth_trying():
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    count = await self._shared.incr(name, WINDOW_SECONDS)
            except (RedisError, OSError) as error:  # the latter includes running out of time
                _log.warning("Redis does not answer; each process counts requests for itself", error=repr(error))
                self._away_until = time.monotonic() + _AWAY_SECONDS
            else:
                self._away_until = None
                return count
        return await self._own.incr(name, WINDOW_SECONDS)

    def _is_worth_trying(self) -> bool:
        if self._away_until is None:
            return True
        now = time.monotonic()
        due = now >= self._away_until
        if due:
            self._away_until = now + _AWAY_SECONDS  # others need not wait for what this one finds out
        return due

"""How many requests a key has had this minute, counted in Redis for every API process together.

Counting must cost little: a process takes as many numbers at a time as make a thousandth of the limit, and asks Redis
for more when these are used up. And it must not make requests wait: while Redis is away each process counts for itself,
and looks for Redis again now and then, one key at a time and for a moment.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import structlog
from limits.aio.storage import MemoryStorage, RedisStorage
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

WINDOW_SECONDS = 60
"""A minute by the clock."""

_PATIENCE_SECONDS = 0.25
_AWAY_SECONDS = 5.0
_PARTS = 1000  # of the limit; one of them is taken at a time

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
        self._taken: dict[UUID, tuple[int, Iterator[int]]] = {}  # numbers of a window, by key
        self._locks: dict[UUID, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def count(self, key_id: UUID, limit: int) -> tuple[int, int]:
        """Count a request of a key that may make `limit` of them.

        Returns:
            Its number in this window, from 1, and the seconds until the next window. No two requests have one number;
            where several processes count, what one of them has left of its share is not used by the others.
        """
        # One at a time, or of many requests at once each would take a share of its own, and leave most of it unused.
        async with self._locks[key_id]:
            window, passed = divmod(int(time.time()), WINDOW_SECONDS)
            of_window, numbers = self._taken.get(key_id, (window, iter(())))
            number = next(numbers, None) if of_window == window else None
            if number is None:
                many = max(1, limit // _PARTS)
                last = await self._increase(f"{key_id}/{window}", many)
                numbers = iter(range(last - many + 1, last + 1))
                number = next(numbers)
                self._taken[key_id] = (window, numbers)
        return number, WINDOW_SECONDS - passed

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._pool.disconnect()

    async def _increase(self, name: str, many: int) -> int:
        if self._is_worth_trying():
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    count = await self._shared.incr(name, WINDOW_SECONDS, many)
            except (RedisError, OSError) as error:  # the latter includes running out of time
                _log.warning("Redis does not answer; each process counts requests for itself", error=repr(error))
                self._away_until = time.monotonic() + _AWAY_SECONDS
            else:
                self._away_until = None
                return count
        return await self._own.incr(name, WINDOW_SECONDS, many)

    def _is_worth_trying(self) -> bool:
        if self._away_until is None:
            return True
        now = time.monotonic()
        due = now >= self._away_until
        if due:
            self._away_until = now + _AWAY_SECONDS  # others need not wait for what this one finds out
        return due

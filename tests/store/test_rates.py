"""Counting requests."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from server.embedded import EmbeddedRedis
from store import rates
from store.rates import Rates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with tests may take longer over Redis than a request should wait for it."""
    monkeypatch.setattr(rates, "_PATIENCE_SECONDS", 2.0)


@asynccontextmanager
async def counting(redis_url: str) -> AsyncIterator[Rates]:
    counter = Rates(redis_url)
    try:
        yield counter
    finally:
        await counter.close()


async def count(counter: Rates, times: int) -> list[int]:
    """How many there were after each, with a name of their own, in one minute by the clock."""
    while True:
        key_id = uuid4()
        counts = [await counter.count(key_id, 100) for _ in range(times)]
        if sorted(counts, key=lambda each: -each[1]) == counts:
            return [number for number, _ in counts]


def test_every_request_counts_once(redis_url: str) -> None:
    async def ask() -> None:
        async with counting(redis_url) as counter:
            assert await count(counter, 4) == [1, 2, 3, 4]

    asyncio.run(ask())


def test_a_key_with_many_requests_is_counted_many_at_a_time_and_no_number_comes_twice(redis_url: str) -> None:
    async def ask() -> list[tuple[int, int]]:
        key_id = uuid4()
        async with counting(redis_url) as one, counting(redis_url) as other:
            return [await counter.count(key_id, 5000) for counter in [one, other] * 8]

    # Five at a time; when another minute begins in between, they begin anew.
    counts = asyncio.run(ask())
    while counts != sorted(counts, key=lambda each: -each[1]):
        counts = asyncio.run(ask())
    assert [number for number, _ in counts] == [1, 6, 2, 7, 3, 8, 4, 9, 5, 10, 11, 16, 12, 17, 13, 18]


def test_requests_that_come_at_the_same_moment_share_what_is_taken_at_a_time(redis_url: str) -> None:
    async def ask() -> list[tuple[int, int]]:
        key_id = uuid4()
        async with counting(redis_url) as counter:
            return await asyncio.gather(*(counter.count(key_id, 50_000) for _ in range(120)))

    counts = asyncio.run(ask())
    while len({seconds for _, seconds in counts}) > 1:  # another second, and maybe another minute, has begun in between
        counts = asyncio.run(ask())
    assert sorted(number for number, _ in counts) == list(range(1, 121))


def test_a_redis_that_stands_still_or_is_gone_keeps_nobody_from_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_AWAY_SECONDS", 0.0)  # so that each request looks whether it is back

    async def ask(url: str, pid: int) -> None:
        async with counting(url) as counter:
            key_id = uuid4()
            before, seconds = await counter.count(key_id, 100)
            os.kill(pid, signal.SIGSTOP)
            try:
                assert await count(counter, 1) == [1]
            finally:
                os.kill(pid, signal.SIGCONT)
            again, seconds_then = await counter.count(key_id, 100)
            # Counted by Redis again; what it was asked while it stood still, it may count too.
            assert before == 1
            assert again > before or seconds_then > seconds

    async def ask_alone(url: str) -> None:
        async with counting(url) as counter:
            assert await count(counter, 3) == [1, 2, 3]

    with EmbeddedRedis(tmp_path) as server:
        url = server.url
        asyncio.run(ask(url, int((server.directory / server.pid_file).read_text())))
    asyncio.run(ask_alone(url))

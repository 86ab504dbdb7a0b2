"""Whoever waits for a job wakes up when it changes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import text
from storing import OWNER, start

from store import jobs, leases
from store.notify import CHANNEL, JobWaiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from store.database import Database
    from store.tables import Job

LONG = 60.0  # far longer than any of this takes


@asynccontextmanager
async def _waiter(database: Database) -> AsyncIterator[JobWaiter]:
    waiter = JobWaiter(database.url.render_as_string(hide_password=False))
    await waiter.start()
    try:
        yield waiter
    finally:
        await waiter.stop()


async def _woken(waiter: JobWaiter, job_id: UUID, change: Callable[[], None]) -> bool:
    with waiter.watch(job_id) as watch:
        await watch.wait(LONG)  # it begins to listen
        change()
        return await watch.wait(LONG)


def test_a_change_wakes_all_who_wait_for_the_job(database: Database, running: Job) -> None:
    def progress() -> None:
        with database.begin() as session:
            leases.record_progress(session, running.id, 1, "train", 0.5, "")

    async def scenario() -> None:
        async with _waiter(database) as waiter:
            assert await asyncio.gather(
                _woken(waiter, running.id, progress), _woken(waiter, running.id, lambda: None)
            ) == [True, True]

    asyncio.run(scenario())


def test_only_what_is_committed_wakes(database: Database, running: Job) -> None:
    async def scenario() -> None:
        async with _waiter(database) as waiter:
            with waiter.watch(running.id) as watch:
                await watch.wait(LONG)
                with database.begin() as session:
                    jobs.cancel(session, running.id, owner_id=OWNER)
                    assert not await watch.wait(0.05)
                assert await watch.wait(LONG)

    asyncio.run(scenario())


def test_a_change_between_looking_and_waiting_is_not_missed(database: Database) -> None:
    async def scenario() -> None:
        async with _waiter(database) as waiter:
            with database.begin() as session:
                job = start(session)
            with waiter.watch(job.id) as watch:
                await watch.wait(LONG)
                with database.begin() as session:
                    jobs.cancel(session, job.id, owner_id=OWNER)
                await asyncio.sleep(0)
                assert await watch.wait(LONG)

    asyncio.run(scenario())


def test_nobody_waits_longer_than_asked(database: Database) -> None:
    async def scenario() -> None:
        async with _waiter(database) as waiter:
            with waiter.watch(uuid4()) as watch:
                await watch.wait(LONG)
                assert not await watch.wait(0.01)

    asyncio.run(scenario())


def test_a_lost_connection_is_made_again(database: Database, running: Job) -> None:
    kill = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = :listen")

    async def scenario() -> None:
        async with _waiter(database) as waiter:
            with waiter.watch(running.id) as watch:
                await watch.wait(LONG)
                with database.begin() as session:
                    session.execute(kill, {"listen": f"LISTEN {CHANNEL}"})
                assert await watch.wait(LONG)  # it listens again
                with database.begin() as session:
                    jobs.cancel(session, running.id, owner_id=OWNER)
                assert await watch.wait(LONG)

    asyncio.run(scenario())


def test_stopping_wakes_those_who_wait(database: Database) -> None:
    async def scenario() -> None:
        async with _waiter(database) as waiter:
            with waiter.watch(uuid4()) as watch:
                await watch.wait(LONG)
                waiting = asyncio.create_task(watch.wait(LONG))
                await asyncio.sleep(0)
                await waiter.stop()
                assert await waiting

    asyncio.run(scenario())

"""Reading within an event loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Float, Integer, String, bindparam, func, literal, select, text

from store.database import UNAVAILABLE, Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from store.database import Database


def test_the_first_row_of_a_statement_comes_as_python_has_it(postgres: str) -> None:
    statement = select(bindparam("number", type_=Integer) + 1, literal("100 %"), func.now() - func.now())

    async def read() -> tuple[object, ...] | None:
        async with closing_reader(postgres) as reader:
            assert await reader.first(select(literal(1)).where(literal(1) == literal(2)), {}) is None
            return await reader.first(statement, {"number": 1})

    assert asyncio.run(read()) == (2, "100 %", timedelta())


def test_a_reader_goes_on_with_new_connections_when_postgres_has_ended_its_own(
    postgres: str, database: Database
) -> None:
    pid = select(func.pg_backend_pid())

    async def read() -> tuple[object, object]:
        async with closing_reader(postgres) as reader:
            rows = await asyncio.gather(*(reader.first(pid, {}) for _ in range(5)))
            pids = {row[0] for row in rows if row}
            with database.begin() as session:
                session.execute(text("SELECT pg_terminate_backend(p) FROM unnest(:pids) AS p"), {"pids": list(pids)})
            now = await reader.first(pid, {})
            assert now is not None
            return now[0], pids

    new, before = asyncio.run(read())
    assert isinstance(before, set)
    assert new not in before


def test_as_many_connections_as_a_reader_may_have_are_shared_by_all_who_read(postgres: str) -> None:
    pid = select(func.pg_backend_pid(), func.pg_sleep(0.01))

    async def read() -> set[object]:
        async with closing_reader(postgres, connections=2) as reader:
            rows = await asyncio.gather(*(reader.first(pid, {}) for _ in range(20)))
            return {row[0] for row in rows if row}

    assert len(asyncio.run(read())) == 2


def test_who_hangs_up_in_the_middle_of_a_read_leaves_its_answer_to_nobody_else(postgres: str) -> None:
    slow = select(func.pg_sleep(bindparam("seconds", type_=Float)), bindparam("said", type_=String))

    async def read() -> tuple[object, ...] | None:
        async with closing_reader(postgres, connections=1) as reader:
            await reader.first(slow, {"seconds": 0.0, "said": "before"})
            given_up = asyncio.create_task(reader.first(slow, {"seconds": 60.0, "said": "to nobody"}))
            await asyncio.sleep(0)
            given_up.cancel()
            with suppress(asyncio.CancelledError):
                await given_up
            return await reader.first(slow, {"seconds": 0.0, "said": "after"})

    assert (asyncio.run(read()) or ())[1:] == ("after",)


def test_a_reader_of_no_database_says_so() -> None:
    async def read() -> None:
        async with closing_reader("postgresql://octet@127.0.0.1:9/octet") as reader:
            with pytest.raises(UNAVAILABLE):
                await reader.first(select(literal(1)), {})

    asyncio.run(read())


@asynccontextmanager
async def closing_reader(url: str, *, connections: int = 5) -> AsyncIterator[Reader]:
    reader = Reader(url, connections=connections)
    try:
        yield reader
    finally:
        await reader.close()

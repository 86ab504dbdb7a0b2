"""Reading within an event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, text

from store.database import UNAVAILABLE, Reader

if TYPE_CHECKING:
    from store.database import Database


def test_a_reader_gives_the_first_row(database: Database) -> None:
    async def read() -> None:
        reader = Reader(database.url.render_as_string(hide_password=False))
        assert (await reader.first(select(func.generate_series(7, 9)))).generate_series == 7
        assert await reader.first(select(1).where(text("false"))) is None
        await reader.close()

    asyncio.run(read())


def test_a_reader_finds_out_by_itself_that_its_connections_are_gone(database: Database) -> None:
    async def read() -> None:
        reader = Reader(database.url.render_as_string(hide_password=False), pool_size=1)
        pid = (await reader.first(select(func.pg_backend_pid())))[0]
        with database.begin() as session:
            session.execute(select(func.pg_terminate_backend(pid, 5000)))
        assert (await reader.first(select(func.pg_backend_pid())))[0] != pid
        await reader.close()

    asyncio.run(read())


def test_a_reader_of_no_database_says_so(database: Database) -> None:
    async def read() -> None:
        reader = Reader("postgresql://octet@127.0.0.1:9/octet")
        with pytest.raises(UNAVAILABLE):
            await reader.first(select(1))
        await reader.close()

    del database
    asyncio.run(read())

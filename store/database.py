"""The connection to Postgres."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import create_engine, event, exc, func, make_url, select, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import Session

from store.columns import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Select

__all__ = ["UNAVAILABLE", "Database", "Reader", "Session", "binary_cursor", "is_disk_full"]

# libpq's settings, so that a machine that vanished without a word is noticed well within a lease: left to itself, TCP
# would wait a quarter of an hour, and a worker in the middle of a query could neither renew a lease nor stop its job.
_NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}

# What any use of a database may raise while Postgres restarts, cannot be reached, or takes no writes: that and a
# transaction that was ended for taking too long are "internal errors". Trying again later may help.
UNAVAILABLE = (
    exc.OperationalError,
    exc.InternalError,
    exc.InterfaceError,
    exc.TimeoutError,
    psycopg.OperationalError,
    psycopg.InternalError,
)


# The same for Postgres' side: what a machine that vanished had locked is free again within half a minute, and so is
# what a process had locked that was stopped in the middle of a transaction. Whoever waits for a lock relies on seeing
# what was done under it, whatever isolation the server is set to.
_SESSION = (
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 "
    "-c idle_in_transaction_session_timeout=30s -c default_transaction_isolation=read\\ committed"
)

# Times come out in UTC whatever zone the server is set to.
_CONNECT: dict[str, Any] = {"options": f"-c timezone=UTC {_SESSION}", **_NETWORK}

_OPTIONS: dict[str, Any] = {
    "json_serializer": to_json,
    # Errors go to the log, and what a statement was given may be a secret.
    "hide_parameters": True,
    "connect_args": _CONNECT,
}
# A Postgres that stopped answering without hanging up must not hold for ever whoever waits in an event loop.
_READ_SECONDS = 10.0


class Database:
    """A pool of connections; `begin()` gives a session whose block is one transaction."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url = _url(url)
        self.engine = create_engine(
            self.url, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True, **_OPTIONS
        )

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A session; committed at the end of the block, rolled back if it raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def is_read_only(self) -> bool:
        """Whether Postgres takes no writes, as a standby does."""
        with self.begin() as session:
            return bool(session.scalar(select(func.current_setting("transaction_read_only"))) == "on")

    def try_writing(self) -> None:
        """Let Postgres write a quarter of a MiB to its disk, into a file that it removes again.

        Raises:
            sqlalchemy.exc.OperationalError: If it cannot; `is_disk_full` says whether that is for want of room.
        """
        with self.begin() as session:
            session.execute(text("SET LOCAL work_mem = '64kB'"))  # what does not fit into that goes to disk
            session.execute(text("SELECT count(*) FROM generate_series(1, 20000)"))

    def close(self) -> None:
        """Close every pooled connection, and what a thread still uses as soon as it is given back."""
        event.listen(self.engine.pool, "checkin", lambda _, record: record.close())
        self.engine.dispose()


class Reader:
    """Reads for an event loop: one statement, one round trip, no thread, no transaction and no SQLAlchemy.

    For what is asked hundreds of times a second: SQLAlchemy's own work takes three times as long as psycopg's. It
    belongs to one event loop. Its connections are opened when they are needed, and kept. The pool that psycopg offers
    does not serve here: while Postgres is away it tries less and less often, and could miss its return by as long.
    """

    def __init__(self, url: str, *, connections: int = 10) -> None:
        self._url = conninfo(url)
        self._turns = asyncio.Semaphore(connections)
        self._idle: list[psycopg.AsyncConnection] = []

    async def first(self, statement: Select[Any], parameters: dict[str, Any]) -> tuple[Any, ...] | None:
        """The first row that a statement gives with these parameters, or one of `UNAVAILABLE`, within ten seconds.

        Statements are made into SQL once, and kept for as long as the process lives.
        """
        sql, constants = _compiled(statement)
        try:
            async with asyncio.timeout(_READ_SECONDS), self._turns:
                return await self._first(sql, constants | parameters)
        except TimeoutError:
            message = f"Postgres did not answer within {_READ_SECONDS:g} seconds."
            raise exc.TimeoutError(message) from None

    async def close(self) -> None:
        """Close every connection that nobody uses."""
        while self._idle:
            await self._idle.pop().close()

    async def _first(self, sql: bytes, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._ask(connection, sql, parameters)
            except psycopg.OperationalError:
                # Postgres has restarted since. Asking each connection beforehand whether it lives would be a second
                # round trip.
                if not connection.broken:
                    raise
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, **_CONNECT)
        return await self._ask(connection, sql, parameters)

    async def _ask(
        self, connection: psycopg.AsyncConnection, sql: bytes, parameters: dict[str, Any]
    ) -> tuple[Any, ...] | None:
        try:
            row = await (await connection.execute(sql, parameters)).fetchone()
        except BaseException:  # of whoever hung up, too: what the connection would say next is the answer to this
            await connection.close()
            raise
        self._idle.append(connection)
        return row


@cache
def _compiled(statement: Select[Any]) -> tuple[bytes, dict[str, Any]]:
    """A statement as psycopg takes it, and what it has of parameters already."""
    compiled = statement.compile(dialect=PGDialect_psycopg())  # type: ignore[no-untyped-call] # SQLAlchemy has no annotation there
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled).encode(), constants


def conninfo(url: str) -> str:
    """For libpq."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _url(url: str) -> URL:
    """For psycopg 3, whatever spelling the environment uses: postgres://, postgresql:// or postgresql+psycopg://."""
    return make_url(url).set(drivername="postgresql+psycopg")


def is_disk_full(error: Exception) -> bool:
    """Whether an error of the database says that its disk is full."""
    reason = error.orig if isinstance(error, exc.DBAPIError) else error
    return isinstance(reason, psycopg.errors.DiskFull)


def binary_cursor(session: Session) -> psycopg.Cursor:
    """A cursor of the session's own connection that takes values in binary: eight times as fast as bytea's text."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)  # noqa: S101 - for mypy: Database always uses psycopg
    return connection.cursor(binary=True)

"""The migrations lead to the tables, from anywhere and back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, make_url, text

from store import migrate
from store.database import Database
from store.tables import Base

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def empty_database(postgres: str) -> Iterator[Database]:
    url = make_url(postgres).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE octet_migrations"))
    database = Database(url.set(database="octet_migrations").render_as_string(hide_password=False))
    yield database
    database.close()
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE octet_migrations"))
    server.dispose()


def test_the_migrations_give_exactly_the_tables_of_the_code(database: Database) -> None:
    with database.engine.connect() as connection:
        command.check(migrate.configuration(connection))


def test_upgrading_an_empty_database_makes_it_current(empty_database: Database) -> None:
    assert not migrate.is_current(empty_database)
    migrate.upgrade(empty_database.url.render_as_string(hide_password=False))
    assert migrate.is_current(empty_database)


def test_down_to_nothing_and_up_again(empty_database: Database) -> None:
    with empty_database.engine.begin() as connection:
        command.upgrade(migrate.configuration(connection), "head")
        command.downgrade(migrate.configuration(connection), "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
        command.upgrade(migrate.configuration(connection), "head")
        assert {*Base.metadata.tables, "alembic_version"} == set(inspect(connection).get_table_names())


def test_processes_that_upgrade_at_the_same_time_do_not_disturb_each_other(empty_database: Database) -> None:
    url = empty_database.url.render_as_string(hide_password=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate.upgrade, [url] * 4))
    assert migrate.is_current(empty_database)


@pytest.mark.parametrize("table", ["blob_chunks", "partial_upload_chunks"])
def test_postgres_does_not_try_to_compress_chunks(table: str, database: Database) -> None:
    query = "SELECT attstorage FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attname = 'data'"
    with database.begin() as session:
        assert session.scalar(text(query), {"table": table}) == "e"  # EXTERNAL

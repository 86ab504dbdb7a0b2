"""Postgres and Redis for all tests: the embedded ones, or those named by OCTET_TEST_DATABASE_URL and …_REDIS_URL."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from sqlalchemy import text

from server.embedded import EmbeddedPostgres, EmbeddedRedis
from store import migrate
from store.database import Database
from store.settings import Settings
from store.tables import FIRST_OWNER, Base, Owner

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    # Not pytest's: each run of pytest closes its base directory again, which Postgres must pass when we are root.
    with TemporaryDirectory(prefix="octet-tests-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def postgres(servers_dir: Path) -> Iterator[str]:
    """URL of a Postgres."""
    if url := os.environ.get("OCTET_TEST_DATABASE_URL"):
        yield url
        return
    with EmbeddedPostgres(servers_dir) as server:
        _do_not_wait_for_the_disk(server.url)
        yield server.url


@pytest.fixture(scope="session")
def redis_url(servers_dir: Path) -> Iterator[str]:
    """URL of a Redis."""
    if url := os.environ.get("OCTET_TEST_REDIS_URL"):
        yield url
        return
    with EmbeddedRedis(servers_dir) as server:
        yield server.url


@pytest.fixture(scope="session")
def migrated_database(postgres: str) -> Iterator[Database]:
    migrate.upgrade(postgres)
    database = Database(postgres)
    yield database
    database.close()


def _do_not_wait_for_the_disk(url: str) -> None:
    """The data need not survive a power cut."""
    with closing(Database(url)) as database:
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("ALTER SYSTEM SET fsync = off"))
            connection.execute(text("SELECT pg_reload_conf()"))


@pytest.fixture
def database(migrated_database: Database) -> Database:
    """A migrated database with empty tables, but for the owner that there always is."""
    with migrated_database.begin() as session:
        for table in reversed(Base.metadata.sorted_tables):  # a hundred times as fast as TRUNCATE
            session.execute(table.delete())
        session.add(Owner(id=UUID(FIRST_OWNER), name="default"))
    return migrated_database


@pytest.fixture
def settings(postgres: str, redis_url: str) -> Settings:
    """Settings of a service on the tests' Postgres and Redis."""
    return Settings(database_url=postgres, redis_url=redis_url)

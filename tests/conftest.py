"""Postgres and Redis for all tests: the embedded ones, or those named by OCTET_TEST_DATABASE_URL and …_REDIS_URL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from server.embedded import EmbeddedPostgres, EmbeddedRedis
from store import migrate
from store.database import Database
from store.settings import Settings
from store.tables import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

_TABLES = ", ".join(table.name for table in Base.metadata.sorted_tables)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Postgres."""
    if url := os.environ.get("OCTET_TEST_DATABASE_URL"):
        yield url
        return
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis."""
    if url := os.environ.get("OCTET_TEST_REDIS_URL"):
        yield url
        return
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="session")
def migrated_database(postgres: str) -> Iterator[Database]:
    migrate.upgrade(postgres)
    database = Database(postgres)
    yield database
    database.close()


@pytest.fixture
def database(migrated_database: Database) -> Database:
    """A migrated database with empty tables."""
    with migrated_database.begin() as session:
        session.execute(text(f"TRUNCATE {_TABLES}"))
    return migrated_database


@pytest.fixture
def settings(postgres: str, redis_url: str) -> Settings:
    """Settings of a service on the tests' Postgres and Redis."""
    return Settings(database_url=postgres, redis_url=redis_url)

"""The migrations lead to the tables, from anywhere and back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, make_url, text

from store import leases, migrate
from store.database import Database
from store.tables import FIRST_OWNER, Base

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


def test_an_upgrade_that_finds_a_table_in_use_lets_the_others_go_on_until_it_is_free(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_PATIENCE_SECONDS", "0.01")
    tried = Event()
    monkeypatch.setattr(migrate, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(migrate, "_log", SimpleNamespace(warning=lambda _: tried.set()))
    with empty_database.engine.begin() as connection:
        command.upgrade(migrate.configuration(connection), "0001")
    with ThreadPoolExecutor(1) as pool:
        with empty_database.begin() as uploading:
            uploading.execute(text("SELECT 1 FROM models"))
            upgrading = pool.submit(migrate.upgrade, empty_database.url.render_as_string(hide_password=False))
            assert tried.wait(30)
        upgrading.result(30)
    assert migrate.is_current(empty_database)


def test_a_database_that_is_older_is_not_current_and_one_that_is_newer_is_and_stays(empty_database: Database) -> None:
    with empty_database.engine.begin() as connection:
        command.upgrade(migrate.configuration(connection), "0001")
    assert not migrate.is_current(empty_database)
    url = empty_database.url.render_as_string(hide_password=False)
    migrate.upgrade(url)
    with empty_database.begin() as session:  # as a release after this one leaves it
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert migrate.is_current(empty_database)
    migrate.upgrade(url)
    with empty_database.begin() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_the_release_before_goes_on_with_the_new_tables_and_its_jobs_are_done(empty_database: Database) -> None:
    # What the code of 0001 writes, column by column.
    submit = (
        "INSERT INTO api_keys (id, name, prefix, sha256) VALUES (:key, 'k', 'octet_', :sha256)",
        "INSERT INTO models (id, name, size, spec) VALUES (:model, 'm', 1, '{}')",
        "INSERT INTO jobs (id, key_id, model_id, recipe, request_sha256) VALUES (:job, :key, :model, '{}', '')",
    )
    claim = "UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_until = now() WHERE id = :job"
    again = "UPDATE jobs SET state = 'queued', hinted_at = NULL WHERE id = :job"
    migrate.upgrade(empty_database.url.render_as_string(hide_password=False))
    names = {"key": uuid4(), "model": uuid4(), "job": uuid4(), "sha256": "0" * 64}
    for statement in (*submit, claim, again):
        with empty_database.begin() as session:
            session.execute(text(statement), names)
    with empty_database.begin() as session:
        job = leases.claim_next(session, uuid4(), 60)
        assert job is not None
        assert (job.id, job.attempt, str(job.owner_id), job.protocol) == (names["job"], 2, FIRST_OWNER, 1)


@pytest.mark.parametrize("table", ["blob_chunks", "partial_upload_chunks"])
def test_postgres_does_not_try_to_compress_chunks(table: str, database: Database) -> None:
    query = "SELECT attstorage FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attname = 'data'"
    with database.begin() as session:
        assert session.scalar(text(query), {"table": table}) == "e"  # EXTERNAL

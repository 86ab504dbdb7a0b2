"""The connections to Postgres."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from store.database import Database


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("idle_in_transaction_session_timeout", "30000"),  # else what a stopped process has locked stays locked
        ("default_transaction_isolation", "read committed"),  # whoever waited for a lock sees what was done under it
    ],
)
def test_a_connection_does_not_depend_on_how_the_server_is_set(database: Database, name: str, value: str) -> None:
    query = text("SELECT setting, source FROM pg_settings WHERE name = :name")
    with database.begin() as session:
        assert session.execute(query, {"name": name}).one() == (value, "client")


def test_what_is_in_use_when_all_is_closed_is_closed_when_it_is_given_back(postgres: str) -> None:
    database = Database(postgres)
    with database.begin() as session:
        session.execute(text("SELECT 1"))
        connection = session.connection().connection.driver_connection
        database.close()
        assert session.execute(text("SELECT 2")).scalar() == 2
    assert connection is not None
    assert connection.closed

"""The connections to Postgres."""

from __future__ import annotations

from sqlalchemy import text

from store.database import Database


def test_what_is_in_use_when_all_is_closed_is_closed_when_it_is_given_back(postgres: str) -> None:
    database = Database(postgres)
    with database.begin() as session:
        session.execute(text("SELECT 1"))
        connection = session.connection().connection.driver_connection
        database.close()
        assert session.execute(text("SELECT 2")).scalar() == 2
    assert connection is not None
    assert connection.closed

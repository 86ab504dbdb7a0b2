"""Bringing a database to the schema that this code needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from store import locks
from store.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ALEMBIC_INI = Path(__file__).parents[1] / "alembic.ini"


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for one connection; its commands then run in that connection's transaction."""
    config = Config(_ALEMBIC_INI)
    config.attributes["connection"] = connection
    return config


def upgrade(database_url: str) -> None:
    """Migrate to the newest schema. Any number of processes may call this at once: one migrates, the others wait."""
    database = Database(database_url)
    try:
        with database.engine.begin() as connection:
            locks.acquire(connection, locks.Lock.MIGRATION)
            command.upgrade(configuration(connection), "head")
    finally:
        database.close()


def is_current(database: Database) -> bool:
    """Whether the database has exactly the schema that this code needs."""
    with database.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_heads()
        return set(found) == set(ScriptDirectory.from_config(configuration(connection)).get_heads())

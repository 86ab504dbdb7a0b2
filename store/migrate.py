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
    """Migrate to the newest schema that this code knows; a newer one is left as it is.

    Any number of processes may call this at once: one migrates, the others wait.
    """
    database = Database(database_url)
    try:
        with database.engine.begin() as connection:
            locks.acquire(connection, locks.Lock.MIGRATION)
            if not _is_current(connection):
                command.upgrade(configuration(connection), "head")
    finally:
        database.close()


def is_current(database: Database) -> bool:
    """Whether the database has the schema that this code needs, or a newer one.

    A newer one serves as well: a release only adds to the schema, and what it no longer needs goes with the next one.
    """
    with database.engine.connect() as connection:
        return _is_current(connection)


def _is_current(connection: Connection) -> bool:
    scripts = ScriptDirectory.from_config(configuration(connection))
    (head,) = scripts.get_heads()
    known = {script.revision for script in scripts.walk_revisions()}
    found = MigrationContext.configure(connection).get_current_revision()
    return found == head or (found is not None and found not in known)

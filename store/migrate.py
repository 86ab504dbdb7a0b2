"""Bringing a database to the schema that this code needs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc, text

from store import locks
from store.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

_PATIENCE_SECONDS = 2
_PAUSE_SECONDS = 1.0
_IN_USE = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

_log = structlog.get_logger()

_ALEMBIC_INI = Path(__file__).parents[1] / "alembic.ini"


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for one connection; its commands then run in that connection's transaction."""
    config = Config(_ALEMBIC_INI)
    config.attributes["connection"] = connection
    return config


def upgrade(database_url: str) -> None:
    """Migrate to the newest schema that this code knows; a newer one is left as it is.

    Any number of processes may call this at once: one migrates, the others wait. A service may go on with the tables:
    where it holds one for long, as for an upload that is being stored, this lets everybody go on and begins again.
    """
    database = Database(database_url)
    try:
        while not _upgraded(database):
            _log.warning("the tables are in use; trying again")
            time.sleep(_PAUSE_SECONDS)
    finally:
        database.close()


def _upgraded(database: Database) -> bool:
    """Whether the schema is current now; if not, the tables were in use, and all is as it was."""
    try:
        with database.engine.begin() as connection:
            locks.acquire(connection, locks.Lock.MIGRATION)
            if not _is_current(connection):
                # While this waits for a table, all others wait behind it, for that one and for those it has locked.
                connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE_SECONDS}s'"))
                command.upgrade(configuration(connection), "head")
    except exc.OperationalError as error:
        if isinstance(error.orig, _IN_USE):
            return False
        raise
    return True


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

"""How Alembic reaches the database: over the caller's connection, else over OCTET_DATABASE_URL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from alembic import context

from store.columns import Text
from store.database import Database
from store.tables import Base

if TYPE_CHECKING:
    from sqlalchemy import Connection


def render(kind: str, item: Any, _: Any) -> str | bool:
    """Migrations are history: they name SQLAlchemy's types, not ours, which may change."""
    return "sa.String()" if kind == "type" and isinstance(item, Text) else False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=Base.metadata, compare_server_default=True, render_item=render
    )
    with context.begin_transaction():
        context.run_migrations()


if (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    database = Database(os.environ["OCTET_DATABASE_URL"])
    with database.engine.begin() as connection:
        migrate(connection)
    database.close()

"""Advisory locks: what may happen only once at a time, over all processes. Each is held until its transaction ends."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from sqlalchemy import func, select

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

# Postgres keeps locks of two integers apart from locks of one, so names and contents never collide.
_OCTET = 0x0C7E7


class Lock(IntEnum):
    """Locks with a name."""

    MIGRATION = 1
    RECONCILIATION = 2


def acquire(connection: Connection, lock: Lock) -> None:
    """Wait for the lock."""
    connection.execute(select(func.pg_advisory_xact_lock(_OCTET, int(lock))))


def try_acquire(session: Session, lock: Lock) -> bool:
    """Take the lock if it is free; False, at once, if it is not."""
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(_OCTET, int(lock)))))


def content(session: Session, sha256: str) -> None:
    """Wait until nobody else writes, takes up or frees the content of this hash."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(sha256, 0))))

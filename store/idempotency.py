"""Answers kept under the idempotency key of their request.

A record is made before the request is handled, and filled with the answer afterwards. While the request is handled its
process renews `seen_at`, so a record that is neither filled nor renewed belongs to a process that was killed, and is
taken over by the next request. `created_at` says whose a record is: a process that was given up finds its own writes
without effect.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import CursorResult, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from store.tables import IdempotencyRecord as Record

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

LOST_SECONDS = 5.0
"""A record that is being worked on is renewed several times within this."""


class Claim(NamedTuple):
    """The right to handle a request and to keep its answer."""

    key_id: UUID
    key: str
    since: datetime


class Answer(NamedTuple):
    """An answer that was kept, and the request that it belongs to."""

    request_sha256: str
    status: int
    headers: dict[str, str]
    body: bytes


def claim(session: Session, key_id: UUID, key: str, *, keep_seconds: float) -> Claim | Answer | None:
    """Begin to handle a request.

    Args:
        session: A transaction.
        key_id: The API key that the request is made with.
        key: Its idempotency key.
        keep_seconds: How long answers are kept.

    Returns:
        The right to handle it, or the answer of its first time, or None: that is still being worked on.
    """
    # The clock and not the transaction's time: two claims must never look the same.
    fresh = {"created_at": func.clock_timestamp(), "seen_at": func.now()}
    empty = {"request_sha256": None, "status": None, "headers": None, "body": None}
    lost = Record.status.is_(None) & (Record.seen_at < _ago(LOST_SECONDS))
    statement = (
        insert(Record)
        .values(key_id=key_id, key=key, **fresh)
        .on_conflict_do_update(
            index_elements=["key_id", "key"], set_={**fresh, **empty}, where=or_(lost, _expired(keep_seconds))
        )
        .returning(Record.created_at)
    )
    since = session.scalar(statement)
    if since is not None:
        return Claim(key_id, key, since)
    columns = (Record.request_sha256, Record.status, Record.headers, Record.body)
    done = select(*columns).where(Record.key_id == key_id, Record.key == key, Record.status.is_not(None))
    row = session.execute(done).first()
    return None if row is None else Answer(*row)


def renew(session: Session, claim: Claim) -> None:
    """Show that the request is still being handled."""
    session.execute(update(Record).where(*_mine(claim)).values(seen_at=func.now()))


def keep(session: Session, claim: Claim, answer: Answer) -> None:
    """Keep the answer for the next time that the request comes."""
    session.execute(update(Record).where(*_mine(claim)).values(**answer._asdict(), seen_at=func.now()))


def forget(session: Session, claim: Claim) -> None:
    """Let the request be handled anew when it comes again."""
    session.execute(delete(Record).where(*_mine(claim)))


def delete_expired(session: Session, keep_seconds: float) -> int:
    """Remove the answers that were kept long enough; how many they were."""
    expired = delete(Record).where(_expired(keep_seconds))
    done = session.execute(expired, execution_options={"synchronize_session": False})
    return done.rowcount if isinstance(done, CursorResult) else 0


def _expired(keep_seconds: float) -> ColumnElement[bool]:
    return Record.seen_at < _ago(keep_seconds)


def _mine(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return Record.key_id == claim.key_id, Record.key == claim.key, Record.created_at == claim.since


def _ago(seconds: float) -> ColumnElement[datetime]:
    return func.now() - timedelta(seconds=seconds)

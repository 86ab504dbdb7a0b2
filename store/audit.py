"""Who did what: an entry for every change, in the transaction of the change, so that neither is without the other.

Entries are never deleted, so they hold names, sizes and ids, and no content.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, true

from store import paging
from store.tables import AuditEntry

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Actor:
    """Who does something: a key of an owner, or with neither the service itself or its operator."""

    owner_id: UUID | None = None
    key_id: UUID | None = None
    request_id: str | None = None


SERVICE = Actor()
"""The service by itself, as when something expires, and its operator, on the command line."""


def record(session: Session, actor: Actor, action: str, subject_id: UUID | str | None, **detail: Any) -> None:
    """Note what `actor` does in this transaction.

    Args:
        session: The transaction of the change.
        actor: Who does it.
        action: What is done to what, such as `job.create`.
        subject_id: What it is done to.
        **detail: Names, sizes and ids, as JSON takes them.
    """
    values = {"owner_id": actor.owner_id, "key_id": actor.key_id, "request_id": actor.request_id}
    subject = None if subject_id is None else str(subject_id)
    session.execute(insert(AuditEntry).values(**values, action=action, subject_id=subject, detail=detail))


def list_page(
    session: Session, *, owner_id: UUID | None, subject_id: str | None, limit: int, after: int | None
) -> paging.Page[AuditEntry]:
    """Entries, newest first; those of one owner, or about one thing, if these are given."""
    wanted = {AuditEntry.owner_id: owner_id, AuditEntry.subject_id: subject_id}
    where = [column == value for column, value in wanted.items() if value is not None]
    return paging.newest_first(session, AuditEntry, AuditEntry.id, *where, within=true(), limit=limit, after=after)

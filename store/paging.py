"""Lists, newest first, a page at a time. A page begins after the last entry of the one before, so none is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from sqlalchemy import select, tuple_

from store.errors import NotFoundError
from store.tables import Base

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import InstrumentedAttribute, Session

R = TypeVar("R", bound=Base)


class Page(NamedTuple, Generic[R]):
    """Some rows, whether older ones follow, and what to pass as `after` to get those."""

    rows: list[R]
    has_more: bool
    next: UUID | int | None


def newest_first(
    session: Session,
    table: type[R],
    at: InstrumentedAttribute[Any],
    *where: ColumnElement[bool],
    within: ColumnElement[bool],
    limit: int,
    after: UUID | int | None,
) -> Page[R]:
    """At most `limit` rows of `table`, ordered by `at`.

    Args:
        session: A transaction.
        table: What to list.
        at: What orders it; the id decides between equals.
        *where: Which rows to show. A row that is not shown any more may still be what `after` names.
        within: Which rows the caller may know of; for all others it is as if they were not there.
        limit: How many rows at most.
        after: Id of the last row of the page before.

    Raises:
        NotFoundError: If there never was a row `after` that the caller may know of.
    """
    id_ = table.__table__.c.id
    query = select(table).where(within, *where).order_by(at.desc(), id_.desc()).limit(limit + 1)
    if after is not None:
        last = session.scalar(select(table).where(within, id_ == after))
        if last is None:
            raise NotFoundError(f"There is no {after} to list after.", hint="`after` is the `next` of an earlier page.")
        query = query.where(tuple_(at, id_) < (getattr(last, at.key), after))
    rows = list(session.scalars(query))
    has_more = len(rows) > limit
    rows = rows[:limit]
    return Page(rows, has_more, rows[-1].id if has_more else None)  # type: ignore[attr-defined]

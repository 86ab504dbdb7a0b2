"""Uploaded models and datasets: labels on content. One mechanism for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from sqlalchemy import delete as sql_delete
from sqlalchemy import exists, func, or_, select

from octet.errors import FieldError
from store import blobs, locks, paging
from store.errors import DatasetDeletedError, InUseError, ModelDeletedError, NotFoundError
from store.states import UNFINISHED
from store.tables import Dataset, Job, Model, Upload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import InstrumentedAttribute, Session

Kind = Literal["model", "dataset"]
Row = Model | Dataset

_TABLES: dict[Kind, type[Upload]] = {"model": Model, "dataset": Dataset}
_DELETED: dict[Kind, type[NotFoundError]] = {"model": ModelDeletedError, "dataset": DatasetDeletedError}
KINDS: tuple[Kind, ...] = ("model", "dataset")
_USED_AS = {"model": (Job.model_id,), "dataset": (Job.calibration_id, Job.evaluation_id)}


def create(
    session: Session,
    kind: Kind,
    *,
    owner_id: UUID,
    name: str,
    sha256: str,
    size: int,
    spec: dict[str, Any],
    stream: BinaryIO,
    expires_at: datetime | None = None,
) -> tuple[Row, bool]:
    """Keep an upload, for ever or until `expires_at`.

    Returns:
        The row, and whether it is new: the same bytes again, of the same owner, give the row they gave before, under
        its first name. Those of another owner are another row on the same content.

    Raises:
        ContentMismatchError: If `stream` does not hold the announced bytes.
    """
    known = renew(session, kind, sha256, owner_id=owner_id, expires_at=expires_at)
    if known is not None:
        return known, False
    blobs.write(session, stream, sha256=sha256, size=size)
    row = _TABLES[kind](owner_id=owner_id, name=name, sha256=sha256, size=size, spec=spec, expires_at=expires_at)
    session.add(row)
    session.flush()
    return cast("Row", row), True


def find_by_content(session: Session, kind: Kind, sha256: str, *, owner_id: UUID) -> Row | None:
    """The owner's upload of these bytes, if there is one."""
    table = _TABLES[kind]
    return cast("Row | None", session.scalar(select(table).where(table.owner_id == owner_id, table.sha256 == sha256)))


def renew(
    session: Session, kind: Kind, sha256: str, *, owner_id: UUID, expires_at: datetime | None = None
) -> Row | None:
    """As `find_by_content`, where the bytes have come again: they are kept as long as either time was to be."""
    locks.content(session, sha256)
    known = find_by_content(session, kind, sha256, owner_id=owner_id)
    if known is not None and known.expires_at is not None:
        known.expires_at = None if expires_at is None else max(known.expires_at, expires_at)
        session.flush()
    return known


def get(session: Session, kind: Kind, upload_id: UUID, *, owner_id: UUID, field: str | None = None) -> Row:
    """An upload.

    Args:
        session: A transaction.
        kind: What it is.
        upload_id: Its id.
        owner_id: Whose it must be.
        field: Where a request names it, if one does; the error then points there.

    Raises:
        NotFoundError: If the owner has none of that id; a subclass of it if it was deleted.
    """
    return _only(session, kind, upload_id, owner_id, select(_TABLES[kind]), field)


def hold(session: Session, kind: Kind, upload_id: UUID, *, owner_id: UUID, field: str | None = None) -> Row:
    """As `get`, and nobody can delete it until the transaction ends."""
    return _only(session, kind, upload_id, owner_id, select(_TABLES[kind]).with_for_update(read=True), field)


def list_page(session: Session, kind: Kind, *, owner_id: UUID, limit: int, after: UUID | None) -> paging.Page[Any]:
    """The owner's uploads that are not deleted, newest first."""
    table = _TABLES[kind]
    theirs, shown = table.owner_id == owner_id, table.deleted_at.is_(None)
    return paging.newest_first(session, table, table.created_at, shown, within=theirs, limit=limit, after=after)


def delete(session: Session, kind: Kind, upload_id: UUID, *, owner_id: UUID) -> None:
    """Free an upload's bytes. The row stays, for the jobs that name it.

    Raises:
        NotFoundError: If the owner has none of that id, or no longer.
        InUseError: If an unfinished job needs it.
    """
    table = _TABLES[kind]
    sha256 = get(session, kind, upload_id, owner_id=owner_id).sha256
    assert sha256 is not None  # noqa: S101 - for mypy: only deleted rows have none
    locks.content(session, sha256)  # the content before the row, as in `create`, or the two could wait for each other
    row = _only(session, kind, upload_id, owner_id, select(table).with_for_update())
    if session.scalar(select(exists().where(used(kind, upload_id), Job.state.in_(UNFINISHED)))):
        raise InUseError(
            f"The {kind} {upload_id} is needed by an unfinished job.", hint="Cancel the job, or wait for its end."
        )
    row.sha256, row.deleted_at = None, session.scalar(select(func.now()))
    session.flush()
    blobs.delete_unreferenced(session, sha256)


def forget(session: Session, kind: Kind, upload_id: UUID) -> bool:
    """Take away what `delete` leaves, which no job may name any more; whether it was there."""
    table = _TABLES[kind]
    gone = sql_delete(table).where(table.id == upload_id).returning(table.id)
    return session.scalar(gone, execution_options={"synchronize_session": False}) is not None


def used(kind: Kind, upload_id: UUID | InstrumentedAttribute[UUID]) -> ColumnElement[bool]:
    """Of a job: whether it was given this upload."""
    return or_(*(column == upload_id for column in _USED_AS[kind]))


def expired(session: Session, limit: int, *, kind: Kind) -> Sequence[Row]:
    """What should be deleted by now, and is not needed by an unfinished job."""
    table = _TABLES[kind]
    needed = exists().where(used(kind, table.id), Job.state.in_(UNFINISHED))
    return cast("Sequence[Row]", session.scalars(select(table).where(*_over(table), ~needed).limit(limit)).all())


def is_expired(session: Session, kind: Kind, upload_id: UUID) -> bool:
    """Whether it should be deleted by now."""
    table = _TABLES[kind]
    return bool(session.scalar(select(exists().where(table.id == upload_id, *_over(table)))))


def _over(table: type[Upload]) -> tuple[ColumnElement[bool], ...]:
    return table.expires_at <= func.now(), table.deleted_at.is_(None)


def _only(  # noqa: PLR0917 - what is asked for, then how
    session: Session, kind: Kind, upload_id: UUID, owner_id: UUID, query: Select[Upload], field: str | None = None
) -> Row:
    table = _TABLES[kind]
    query = query.where(table.id == upload_id, table.owner_id == owner_id)
    row = session.scalar(query, execution_options={"populate_existing": True})
    if row is None:
        message, hint = f"There is no {kind} {upload_id}.", None
        raise NotFoundError(message, hint=hint, errors=_at(field, message, hint))
    if row.deleted_at is not None:
        message, hint = f"The {kind} {upload_id} was deleted.", "Upload it again; it gets a new id."
        raise _DELETED[kind](message, hint=hint, errors=_at(field, message, hint))
    return cast("Row", row)


def _at(field: str | None, message: str, hint: str | None) -> list[FieldError]:
    return [] if field is None else [FieldError(f"/{field}", message, hint)]

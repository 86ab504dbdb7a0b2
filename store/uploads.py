"""Uploaded models and datasets: labels on content. One mechanism for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from sqlalchemy import exists, func, or_, select

from octet.errors import FieldError
from store import blobs, locks, paging
from store.errors import DatasetDeletedError, InUseError, ModelDeletedError, NotFoundError
from store.states import UNFINISHED
from store.tables import Dataset, Job, Model, Upload

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

Kind = Literal["model", "dataset"]
Row = Model | Dataset

_TABLES: dict[Kind, type[Upload]] = {"model": Model, "dataset": Dataset}
_DELETED: dict[Kind, type[NotFoundError]] = {"model": ModelDeletedError, "dataset": DatasetDeletedError}
_USED_AS = {"model": (Job.model_id,), "dataset": (Job.calibration_id, Job.evaluation_id)}


def create(
    session: Session, kind: Kind, *, name: str, sha256: str, size: int, spec: dict[str, Any], stream: BinaryIO
) -> tuple[Row, bool]:
    """Keep an upload.

    Returns:
        The row, and whether it is new: the same bytes again give the row they gave before, under its first name.

    Raises:
        ContentMismatchError: If `stream` does not hold the announced bytes.
    """
    locks.content(session, sha256)
    known = find_by_content(session, kind, sha256)
    if known is not None:
        return known, False
    blobs.write(session, stream, sha256=sha256, size=size)
    row = _TABLES[kind](name=name, sha256=sha256, size=size, spec=spec)
    session.add(row)
    session.flush()
    return cast("Row", row), True


def find_by_content(session: Session, kind: Kind, sha256: str) -> Row | None:
    """The upload of these bytes, if there is one."""
    table = _TABLES[kind]
    return cast("Row | None", session.scalar(select(table).where(table.sha256 == sha256)))


def get(session: Session, kind: Kind, upload_id: UUID, *, field: str | None = None) -> Row:
    """An upload.

    Args:
        session: A transaction.
        kind: What it is.
        upload_id: Its id.
        field: Where a request names it, if one does; the error then points there.

    Raises:
        NotFoundError: If there is none of that id; a subclass of it if it was deleted.
    """
    return _only(session, kind, upload_id, select(_TABLES[kind]), field)


def hold(session: Session, kind: Kind, upload_id: UUID, *, field: str | None = None) -> Row:
    """As `get`, and nobody can delete it until the transaction ends."""
    return _only(session, kind, upload_id, select(_TABLES[kind]).with_for_update(read=True), field)


def list_page(session: Session, kind: Kind, *, limit: int, after: UUID | None) -> paging.Page[Any]:
    """What is not deleted, newest first."""
    table = _TABLES[kind]
    return paging.newest_first(session, table, table.created_at, table.deleted_at.is_(None), limit=limit, after=after)


def delete(session: Session, kind: Kind, upload_id: UUID) -> None:
    """Free an upload's bytes. The row stays, for the jobs that name it.

    Raises:
        NotFoundError: If there is none of that id, or no longer.
        InUseError: If an unfinished job needs it.
    """
    table = _TABLES[kind]
    sha256 = get(session, kind, upload_id).sha256
    assert sha256 is not None  # noqa: S101 - for mypy: only deleted rows have none
    locks.content(session, sha256)  # the content before the row, as in `create`, or the two could wait for each other
    row = _only(session, kind, upload_id, select(table).with_for_update())
    used = or_(*(column == upload_id for column in _USED_AS[kind]))
    if session.scalar(select(exists().where(used, Job.state.in_(UNFINISHED)))):
        raise InUseError(
            f"The {kind} {upload_id} is needed by an unfinished job.", hint="Cancel the job, or wait for its end."
        )
    row.sha256, row.deleted_at = None, session.scalar(select(func.now()))
    session.flush()
    blobs.delete_unreferenced(session, sha256)


def _only(session: Session, kind: Kind, upload_id: UUID, query: Select[Upload], field: str | None = None) -> Row:
    query = query.where(_TABLES[kind].id == upload_id)
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

"""Files that arrive in parts: what has arrived, and what became of them.

All of it is in Postgres, so any API process can go on where another one was killed. A part is added in chunks, each of
them a transaction that holds the upload's row: whoever writes is alone, and a writer that died holds nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, update

from store.database import binary_cursor
from store.errors import NotFoundError, UploadBusyError, UploadExpiredError, UploadOffsetError
from store.tables import PartialUpload, PartialUploadChunk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from octet.errors import OctetError
    from store.uploads import Kind

_AGAIN = "Begin the upload again."


def create(
    session: Session,
    kind: Kind,
    *,
    owner_id: UUID,
    key_id: UUID,
    name: str | None,
    metadata: str,
    size: int,
    upload_expires_at: datetime | None,
    keep_seconds: float,
) -> PartialUpload:
    """Expect a file of `size` bytes, for as long as parts of it come within `keep_seconds` of each other."""
    new = insert(PartialUpload).values(
        owner_id=owner_id,
        key_id=key_id,
        kind=kind,
        name=name,
        metadata_=metadata,
        size=size,
        upload_expires_at=upload_expires_at,
        expires_at=_from_now(keep_seconds),
    )
    return session.scalars(new.returning(PartialUpload)).one()


def get(session: Session, upload_id: UUID, *, owner_id: UUID) -> PartialUpload:
    """An upload.

    Raises:
        NotFoundError: If the owner has none of that id; a subclass of it if it was given up.
    """
    upload = _find(session, upload_id, owner_id, select(PartialUpload, _EXPIRED))
    if upload is None:
        raise NotFoundError(f"There is no upload {upload_id}.", hint=_AGAIN)
    return upload


def hold(session: Session, upload_id: UUID, *, owner_id: UUID) -> PartialUpload:
    """As `get`, and nobody else can write to it until the transaction ends.

    Raises:
        UploadBusyError: If somebody else does.
    """
    free = select(PartialUpload, _EXPIRED).with_for_update(of=PartialUpload, skip_locked=True)
    upload = _find(session, upload_id, owner_id, free)
    if upload is None:
        get(session, upload_id, owner_id=owner_id)
        raise UploadBusyError(f"Another request is at the upload {upload_id}.", hint="Ask for its offset in a moment.")
    return upload


def append(
    session: Session, upload_id: UUID, offset: int, data: bytes, *, owner_id: UUID, keep_seconds: float
) -> PartialUpload:
    """Add a chunk, and put off the day on which the upload is given up.

    Raises:
        UploadOffsetError: If it does not begin where the chunk before it ended.
        UploadBusyError: If somebody else is writing.
        NotFoundError: As for `get`.
    """
    upload = hold(session, upload_id, owner_id=owner_id)
    check_offset(upload, offset)
    session.execute(insert(PartialUploadChunk).values(upload_id=upload_id, start=offset, data=data))
    longer = update(PartialUpload).where(PartialUpload.id == upload_id)
    longer = longer.values(received=offset + len(data), expires_at=_from_now(keep_seconds))
    return session.scalars(longer.returning(PartialUpload), execution_options=_FRESH).one()


def check_offset(upload: PartialUpload, offset: int) -> None:
    """Whether a part that begins at `offset` may be added.

    Raises:
        UploadOffsetError: If not.
    """
    if upload.received != offset:
        raise UploadOffsetError(
            f"The part begins at byte {offset:,}, but {upload.received:,} bytes have arrived.",
            hint="Ask for the upload's offset, and go on from there.",
        )


def read(session: Session, upload: PartialUpload) -> Iterator[bytes]:
    """What has arrived, chunk by chunk, within the session's transaction."""
    cursor = binary_cursor(session)
    query = "SELECT data FROM partial_upload_chunks WHERE upload_id = %s AND start = %s"
    start = 0
    while start < upload.received:
        row = cursor.execute(query, (upload.id, start)).fetchone()
        if row is None:
            raise NotFoundError(f"The part of upload {upload.id} at byte {start} is missing.", hint=_AGAIN)
        yield row[0]
        start += len(row[0])


def complete(session: Session, upload: PartialUpload, result_id: UUID) -> None:
    """Note which model or dataset the upload has become. What arrived is stored under that now."""
    upload.result_id = result_id
    _drop_chunks(session, upload)


def refuse(session: Session, upload: PartialUpload, error: OctetError) -> None:
    """Note why the upload becomes nothing: `RefusedUploadError` says it again. What arrived is dropped."""
    fields = [asdict(field) for field in error.errors]
    upload.error = {"code": error.code, "message": error.message, "hint": error.hint, "errors": fields}
    _drop_chunks(session, upload)


def remove(session: Session, upload_id: UUID, *, owner_id: UUID) -> None:
    """Forget an upload and what arrived of it. A model or dataset that it has become stays.

    Raises:
        UploadBusyError: If somebody is writing.
        NotFoundError: As for `get`.
    """
    session.delete(hold(session, upload_id, owner_id=owner_id))
    session.flush()


def remove_expired(session: Session, limit: int) -> int:
    """Forget up to `limit` uploads that were given up; how many there were."""
    expired = select(PartialUpload.id).where(_EXPIRED).limit(limit).with_for_update(skip_locked=True)
    gone = delete(PartialUpload).where(PartialUpload.id.in_(expired.scalar_subquery())).returning(PartialUpload.id)
    return len(session.execute(gone, execution_options={"synchronize_session": False}).all())


_EXPIRED = PartialUpload.expires_at <= func.now()
_FRESH = {"populate_existing": True, "synchronize_session": False}


def _find(
    session: Session, upload_id: UUID, owner_id: UUID, query: Select[PartialUpload, bool]
) -> PartialUpload | None:
    query = query.where(PartialUpload.id == upload_id, PartialUpload.owner_id == owner_id)
    row = session.execute(query, execution_options=_FRESH).first()
    if row is None:
        return None
    upload, expired = row
    if expired:
        raise UploadExpiredError(f"The upload {upload_id} was given up: nothing came for too long.", hint=_AGAIN)
    return upload


def _drop_chunks(session: Session, upload: PartialUpload) -> None:
    session.flush()
    session.execute(delete(PartialUploadChunk).where(PartialUploadChunk.upload_id == upload.id))


def _from_now(seconds: float) -> ColumnElement[datetime]:
    return func.now() + timedelta(seconds=seconds)

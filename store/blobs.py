"""Content, under its own sha-256, in chunks of one MiB. Written and read as streams: never a whole blob in memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO

from sqlalchemy import delete, exists, insert, select

from store import locks
from store.database import binary_cursor
from store.errors import ContentMismatchError, NotFoundError
from store.tables import Artifact, Blob, BlobChunk, Dataset, Job, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from store.database import Database

CHUNK = 2**20
_REFERENCES = (Model.sha256, Dataset.sha256, Artifact.sha256, Job.checkpoint_sha256)


def write(session: Session, stream: BinaryIO, *, sha256: str, size: int) -> None:
    """Store `size` bytes of `stream` under their hash. Where they are stored already, the stream is not read.

    Raises:
        ContentMismatchError: If the stream holds other bytes. The transaction must then be rolled back.
    """
    locks.content(session, sha256)
    if session.scalar(select(exists().where(Blob.sha256 == sha256))):
        return
    session.execute(insert(Blob).values(sha256=sha256, size=size))
    digest, written = hashlib.sha256(), 0
    # One statement per chunk keeps memory flat. At this size of a row it is also as fast as COPY (measured).
    for number, chunk in enumerate(_chunks(stream)):
        digest.update(chunk)
        written += len(chunk)
        session.execute(insert(BlobChunk).values(sha256=sha256, number=number, data=chunk))
    if (digest.hexdigest(), written) != (sha256, size):
        raise ContentMismatchError(f"The stream of {written} bytes is not the content {sha256} of {size} bytes.")


def read(session: Session, sha256: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The bytes from `start` up to but without `end`, in pieces of up to a MiB, within the session's transaction.

    Raises:
        NotFoundError: If there is no such content.
    """
    return _pieces(lambda number: _chunk(session, sha256, number), start, _end(session, sha256, end))


def stream(database: Database, sha256: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """As `read`, but each piece is a transaction of its own: a slow reader holds no connection.

    Raises:
        NotFoundError: If there is no such content; while reading, if it is deleted meanwhile.
    """

    def fetch(number: int) -> bytes:
        with database.begin() as session:
            return _chunk(session, sha256, number)

    with database.begin() as session:
        end = _end(session, sha256, end)
    return _pieces(fetch, start, end)


def read_whole(session: Session, sha256: str) -> Iterator[bytes]:
    """All bytes, as `read` gives them, and looked at: until the last piece has been taken, nothing is sure.

    Raises:
        NotFoundError: If there is no such content.
        ContentMismatchError: After the last piece, if what is stored no longer has its hash.
    """
    digest = hashlib.sha256()
    for piece in read(session, sha256):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != sha256:
        raise ContentMismatchError(f"The stored content {sha256} is damaged.", hint="Upload it again.")


def delete_unreferenced(session: Session, sha256: str) -> bool:
    """Free the content if nothing refers to it; whether it was freed.

    Whoever takes content up holds its lock until they have committed, so nobody's is freed.
    """
    locks.content(session, sha256)
    freed = session.execute(delete(Blob).where(Blob.sha256 == sha256, *_unreferenced()).returning(Blob.sha256))
    return freed.first() is not None


def unreferenced(session: Session, limit: int) -> Sequence[str]:
    """Content that nothing refers to; `delete_unreferenced` looks again."""
    return session.scalars(select(Blob.sha256).where(*_unreferenced()).limit(limit)).all()


def _unreferenced() -> list[ColumnElement[bool]]:
    return [~exists().where(reference == Blob.sha256) for reference in _REFERENCES]


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The stream in whole chunks, the last may be shorter, however short the stream's own reads are."""
    while chunk := stream.read(CHUNK):
        while len(chunk) < CHUNK and (more := stream.read(CHUNK - len(chunk))):
            chunk += more
        yield chunk


def _end(session: Session, sha256: str, end: int | None) -> int:
    size = session.scalar(select(Blob.size).where(Blob.sha256 == sha256))
    if size is None:
        raise NotFoundError(f"There is no content {sha256}.")
    return size if end is None else min(end, size)


def _pieces(fetch: Callable[[int], bytes], start: int, end: int) -> Iterator[bytes]:
    while start < end:
        number, offset = divmod(start, CHUNK)
        piece = fetch(number)[offset : offset + end - start]
        start += len(piece)
        yield piece


def _chunk(session: Session, sha256: str, number: int) -> bytes:
    query = "SELECT data FROM blob_chunks WHERE sha256 = %s AND number = %s"
    row = binary_cursor(session).execute(query, (sha256, number)).fetchone()
    if row is None:
        raise NotFoundError(f"Chunk {number} of content {sha256} is missing.")
    data: bytes = row[0]
    return data

"""Content goes in and out whole, in parts, once, and never partly."""

from __future__ import annotations

import io
import os
import tracemalloc
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, func, select, text

from store import blobs
from store.errors import ContentMismatchError, NotFoundError
from store.tables import Blob, BlobChunk, Model

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from store.database import Database

CONTENT = os.urandom(2 * blobs.CHUNK + 1000)
SHA256 = sha256(CONTENT).hexdigest()


class _Trickle(io.BytesIO):
    """A stream whose reads are short, as a socket's are."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 300_000))


def _write(session: Session, content: bytes = CONTENT) -> str:
    digest = sha256(content).hexdigest()
    blobs.write(session, io.BytesIO(content), sha256=digest, size=len(content))
    return digest


def _count(session: Session, table: type[Blob | BlobChunk]) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def test_what_goes_in_comes_out(database: Database) -> None:
    with database.begin() as session:
        _write(session)
    with database.begin() as session:
        assert b"".join(blobs.read(session, SHA256)) == CONTENT
        assert b"".join(blobs.read_whole(session, SHA256)) == CONTENT
    assert b"".join(blobs.stream(database, SHA256)) == CONTENT


def test_chunks_are_a_mebibyte_however_short_the_reads_are(database: Database) -> None:
    with database.begin() as session:
        blobs.write(session, _Trickle(CONTENT), sha256=SHA256, size=len(CONTENT))
        sizes = session.scalars(select(func.length(BlobChunk.data)).order_by(BlobChunk.number))
        assert list(sizes) == [blobs.CHUNK, blobs.CHUNK, 1000]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (blobs.CHUNK - 1, blobs.CHUNK + 1),
        (blobs.CHUNK, 2 * blobs.CHUNK),
        (5, len(CONTENT)),
        (len(CONTENT) - 1, None),
        (len(CONTENT), None),
        (7, 7),
        (0, len(CONTENT) + 100),
    ],
)
def test_a_range_is_the_slice(database: Database, start: int, end: int | None) -> None:
    with database.begin() as session:
        _write(session)
        assert b"".join(blobs.read(session, SHA256, start=start, end=end)) == CONTENT[start:end]


def test_a_range_needs_only_its_own_chunks(database: Database) -> None:
    with database.begin() as session:
        _write(session)
        session.execute(delete(BlobChunk).where(BlobChunk.number != 1))
        piece = b"".join(blobs.read(session, SHA256, start=blobs.CHUNK + 3, end=2 * blobs.CHUNK))
        assert piece == CONTENT[blobs.CHUNK + 3 : 2 * blobs.CHUNK]


def test_empty_content_is_content(database: Database) -> None:
    with database.begin() as session:
        assert list(blobs.read(session, _write(session, b""))) == []


def test_content_is_stored_once_and_not_read_again(database: Database) -> None:
    with database.begin() as session:
        _write(session)
    stream = io.BytesIO(CONTENT)
    with database.begin() as session:
        blobs.write(session, stream, sha256=SHA256, size=len(CONTENT))
        assert _count(session, BlobChunk) == 3
    assert stream.tell() == 0


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), b""])
def test_other_bytes_than_announced_leave_nothing(database: Database, content: bytes) -> None:
    with pytest.raises(ContentMismatchError), database.begin() as session:
        blobs.write(session, io.BytesIO(content), sha256=SHA256, size=len(CONTENT))
    with database.begin() as session:
        assert _count(session, Blob) == _count(session, BlobChunk) == 0


def test_unknown_content_is_not_found(database: Database) -> None:
    with pytest.raises(NotFoundError), database.begin() as session:
        blobs.read(session, SHA256)
    with pytest.raises(NotFoundError):
        blobs.stream(database, SHA256)


def test_a_stream_ends_with_an_error_when_its_content_is_deleted_meanwhile(database: Database) -> None:
    with database.begin() as session:
        _write(session)
    pieces = blobs.stream(database, SHA256)
    next(pieces)
    with database.begin() as session:
        assert blobs.delete_unreferenced(session, SHA256)
    with pytest.raises(NotFoundError):
        next(pieces)


def test_damaged_content_is_noticed(database: Database) -> None:
    with database.begin() as session:
        _write(session)
        session.execute(text("UPDATE blob_chunks SET data = set_byte(data, 0, 255 - get_byte(data, 0))"))
        with pytest.raises(ContentMismatchError, match="damaged"):
            list(blobs.read_whole(session, SHA256))


def test_content_in_use_is_not_freed(database: Database) -> None:
    with database.begin() as session:
        _write(session)
        session.add(Model(name="m", sha256=SHA256, size=len(CONTENT), spec={}))
        session.flush()
        assert not blobs.delete_unreferenced(session, SHA256)
        session.execute(delete(Model))
        assert blobs.delete_unreferenced(session, SHA256)
        assert not blobs.delete_unreferenced(session, SHA256)
        assert _count(session, BlobChunk) == 0


def test_memory_stays_flat_while_content_goes_in_and_out(database: Database) -> None:
    size = 16 * blobs.CHUNK
    digest = sha256(bytes(size)).hexdigest()
    with io.BytesIO(bytes(size)) as stream, database.begin() as session:
        session.connection()
        tracemalloc.start()
        blobs.write(session, stream, sha256=digest, size=size)
        assert sum(len(piece) for piece in blobs.read(session, digest)) == size
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 6 * blobs.CHUNK

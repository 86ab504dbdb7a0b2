"""Taking in a file: from the body to a temporary file, checked on the way, read, and only then stored.

A model or a dataset may be larger than memory, so nothing here holds more of it than a block, and whatever goes wrong,
including a caller that hangs up, the temporary file is gone and the tables are as they were. That file has no name, so
that not even a killed process leaves it behind.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from fastapi import Query
from starlette.concurrency import run_in_threadpool

from api import bodies
from api.disk import require_room
from api.multipart import FileForm
from octet.errors import (
    InvalidArchiveError,
    InvalidDatasetError,
    InvalidModelError,
    UnsupportedFormatError,
    UnsupportedOperatorError,
)
from store import tables, uploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from fastapi import Request

    from api.service import Service
    from store.database import Session
    from store.settings import Settings

Row = tables.Model | tables.Dataset

_BLOCK = 256 * 2**10  # written and hashed in one go, away from the event loop; the first one tells the format
_MAX_NAME = 200

Name = Annotated[str | None, Query(max_length=_MAX_NAME, description="A label; default: the file's name, or its hash.")]

# What OpenAPI cannot learn from the code: the body is read as it comes.
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}, "name": {"type": "string"}},
                }
            },
        },
    }
}
PROBLEMS = (
    "invalid_request",
    "incomplete_body",
    "body_timeout",
    "body_too_large",
    "storage_full",
    "unsupported_format",
)
# What a reader raises of a file that it will not take.
REFUSALS = (
    UnsupportedFormatError,
    InvalidArchiveError,
    InvalidModelError,
    UnsupportedOperatorError,
    InvalidDatasetError,
)


@dataclass(frozen=True)
class Reader:
    """How one kind of upload is told from others and described.

    Attributes:
        kind: The store's name for it.
        recognise: Raises if the first bytes are those of something else.
        describe: Reads the whole file, without executing any of it, and gives its spec as JSON.
    """

    kind: uploads.Kind
    recognise: Callable[[bytes], None]
    describe: Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Spooled:
    """A body that has arrived in full. Its path leads to it only from within this process."""

    path: Path
    sha256: str
    size: int
    name: str


async def take_in(
    request: Request, service: Service, owner_id: UUID, reader: Reader, name: str | None
) -> tuple[Row, bool]:
    """Store the body of `request`.

    Args:
        request: Its body is the file, or a form that contains it.
        service: The parts of the app.
        owner_id: Whose it will be.
        reader: What kind of file is expected.
        name: A label; default: the form's field `name`, the file's own name, or its hash.

    Returns:
        The row, and whether it is new: the same bytes are stored once.

    Raises:
        OctetError: If the body is incomplete, or is not what `reader` reads.
    """
    require_room(service.settings, bodies.announced(request))
    async with _spool(request, service.settings, reader, name) as spooled:
        row, created = await run_in_threadpool(keep, service, owner_id, reader, spooled)
    if created:
        service.telemetry.uploaded(reader.kind, spooled.size)
    return row, created


@asynccontextmanager
async def _spool(request: Request, settings: Settings, reader: Reader, name: str | None) -> AsyncIterator[Spooled]:
    content_type = request.headers.get("content-type", "")
    form = FileForm(content_type) if content_type.startswith("multipart/form-data") else None
    body = bodies.arriving(request)
    digest, size = hashlib.sha256(), 0
    with TemporaryFile(dir=settings.spool_dir) as file:

        def keep(block: bytes) -> None:
            require_room(settings)
            digest.update(block)
            file.write(block)

        async with bodies.Behind() as behind:
            async for block in bodies.blocks(form.file(body) if form else body, _BLOCK):
                if size == 0:
                    reader.recognise(block)
                await behind.do(keep, block)
                size += len(block)
        if size == 0:
            reader.recognise(b"")
        file.flush()
        asked = name or (form and (form.name or form.file_name)) or ""
        sha256 = digest.hexdigest()
        yield Spooled(path_of(file), sha256, size, label(asked, sha256))


def path_of(file: BinaryIO) -> Path:
    """A path that leads to a file without a name, from within this process."""
    return Path(f"/dev/fd/{file.fileno()}")


def label(asked: str | None, sha256: str) -> str:
    """What `asked` leaves of a name once all that is not one line of plain letters is gone; else the hash's beginning.

    A name comes from a stranger and is only ever shown: no path, no control characters, nothing that turns round the
    direction of what follows.
    """
    base = re.split(r"[/\\]", asked or "")[-1]
    return "".join(filter(str.isprintable, base)).strip(" .")[:_MAX_NAME] or sha256[:12]


def _unnoted(_: Session, __: Row) -> None:
    """Nothing else depends on it."""


def keep(
    service: Service,
    owner_id: UUID,
    reader: Reader,
    spooled: Spooled,
    *,
    note: Callable[[Session, Row], None] = _unnoted,
) -> tuple[Row, bool]:
    """Read a file through and store it.

    It is read while no transaction is open: a large model takes seconds, and a connection is worth more.

    Args:
        service: The parts of the app.
        owner_id: Whose it will be.
        reader: What kind of file it is.
        spooled: The file.
        note: Called in the transaction that makes the row, or finds the one there was.

    Returns:
        The row, and whether it is new.
    """
    with service.database.begin() as session:
        known = uploads.find_by_content(session, reader.kind, spooled.sha256, owner_id=owner_id)
        if known is not None:
            note(session, known)
            return known, False
    spec = reader.describe(spooled.path)
    with spooled.path.open("rb") as stream, service.database.begin() as session:
        row, created = uploads.create(
            session,
            reader.kind,
            owner_id=owner_id,
            name=spooled.name,
            sha256=spooled.sha256,
            size=spooled.size,
            spec=spec,
            stream=stream,
        )
        note(session, row)
    return row, created

"""Taking in a file: from the body to a temporary file, checked on the way, read, and only then stored.

A model or a dataset may be larger than memory, so nothing here holds more of it than a block, and whatever goes wrong,
including a caller that hangs up, the temporary file is gone and the tables are as they were. That file has no name, so
that not even a killed process leaves it behind.
"""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.errors import IncompleteBodyError
from api.multipart import FileForm
from store import tables, uploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import Request

    from api.service import Service

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
PROBLEMS = ("invalid_request", "incomplete_body", "body_too_large", "unsupported_format")


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


async def take_in(request: Request, service: Service, reader: Reader, name: str | None) -> tuple[Row, bool]:
    """Store the body of `request`.

    Args:
        request: Its body is the file, or a form that contains it.
        service: The parts of the app.
        reader: What kind of file is expected.
        name: A label; default: the form's field `name`, the file's own name, or its hash.

    Returns:
        The row, and whether it is new: the same bytes are stored once.

    Raises:
        OctetError: If the body is incomplete, or is not what `reader` reads.
    """
    async with _spool(request, service.settings.spool_dir, reader, name) as spooled:
        row, created = await run_in_threadpool(_store, service, reader, spooled)
    if created:
        service.telemetry.uploaded(reader.kind, spooled.size)
    return row, created


@asynccontextmanager
async def _spool(request: Request, directory: Path | None, reader: Reader, name: str | None) -> AsyncIterator[Spooled]:
    content_type = request.headers.get("content-type", "")
    form = FileForm(content_type) if content_type.startswith("multipart/form-data") else None
    body = _body(request)
    digest, size = hashlib.sha256(), 0
    with TemporaryFile(dir=directory) as file:

        def keep(block: bytes) -> None:
            digest.update(block)
            file.write(block)

        async for block in _blocks(form.file(body) if form else body):
            if size == 0:
                reader.recognise(block)
            await run_in_threadpool(keep, block)
            size += len(block)
        if size == 0:
            reader.recognise(b"")
        file.flush()
        asked = name or (form and (form.name or form.file_name)) or ""
        label = "".join(filter(str.isprintable, asked))[:_MAX_NAME] or digest.hexdigest()[:12]
        yield Spooled(Path(f"/dev/fd/{file.fileno()}"), digest.hexdigest(), size, label)


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:  # nobody is there to read it, but the log should tell it from a fault of ours
        raise IncompleteBodyError("The connection was closed before the body was complete.") from error


async def _blocks(data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`data` in blocks of at least `_BLOCK` bytes; the last one may be shorter."""
    waiting = bytearray()
    async for chunk in data:
        waiting += chunk
        if len(waiting) >= _BLOCK:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _store(service: Service, reader: Reader, spooled: Spooled) -> tuple[Row, bool]:
    """The file is read while no transaction is open: a large model takes seconds, and a connection is worth more."""
    with service.database.begin() as session:
        known = uploads.find_by_content(session, reader.kind, spooled.sha256)
    if known is not None:
        return known, False
    spec = reader.describe(spooled.path)
    with spooled.path.open("rb") as stream, service.database.begin() as session:
        return uploads.create(
            session,
            reader.kind,
            name=spooled.name,
            sha256=spooled.sha256,
            size=spooled.size,
            spec=spec,
            stream=stream,
        )

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
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from fastapi import Query
from pydantic import AwareDatetime
from starlette.concurrency import run_in_threadpool

from api import bodies
from api.disk import require_room
from api.labels import one_line
from api.multipart import FileForm
from octet.errors import (
    InvalidArchiveError,
    InvalidDatasetError,
    InvalidModelError,
    UnsupportedFormatError,
    UnsupportedOperatorError,
)
from store import audit, quotas, retention, tables, uploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from fastapi import Request

    from api.doors.caller import Identity
    from api.service import Service
    from store.database import Session

Row = tables.Model | tables.Dataset

_BLOCK = 256 * 2**10  # written and hashed in one go, away from the event loop; the first one tells the format
_CHECK_EVERY = 16 * 2**20  # bytes of a body whose length nobody announced
_MAX_NAME = 200

Name = Annotated[str | None, Query(max_length=_MAX_NAME, description="A label; default: the file's name, or its hash.")]

Expiry = Annotated[
    AwareDatetime | None, Query(description="When it is deleted by itself; default: by the service's settings.")
]
Purge = Annotated[bool, Query(description="Delete every job that used it as well, with all they made.")]

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
    "storage_quota",
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


async def take_in(  # noqa: PLR0917 - what the routes are given, in their order
    request: Request,
    service: Service,
    caller: Identity,
    reader: Reader,
    name: str | None,
    expires_at: datetime | None,
) -> tuple[Row, bool]:
    """Store the body of `request`.

    Args:
        request: Its body is the file, or a form that contains it.
        service: The parts of the app.
        caller: Whose it will be.
        reader: What kind of file is expected.
        name: A label; default: the form's field `name`, the file's own name, or its hash.
        expires_at: When it is deleted by itself; default: by the service's settings.

    Returns:
        The row, and whether it is new: the same bytes are stored once.

    Raises:
        OctetError: If the body is incomplete, or is not what `reader` reads.
    """
    announced = bodies.announced(request)
    until = await run_in_threadpool(admit, service, caller, announced, expires_at)
    checked = partial(admit, service, caller) if announced is None else None
    async with _spool(request, service, reader, name, checked) as spooled:
        return await run_in_threadpool(keep, service, caller, reader, spooled, until)


def admit(service: Service, caller: Identity, size: int | None, expires_at: datetime | None = None) -> datetime | None:
    """Look whether an upload can be taken in at all.

    Args:
        service: The parts of the app.
        caller: Whose it will be.
        size: Its bytes, as far as is known.
        expires_at: When it shall be deleted by itself; None: by the service's settings.

    Returns:
        When it will be.

    Raises:
        OctetError: If there is no room for it, or that moment has passed.
    """
    require_room(service.settings, size or 0)
    with service.database.begin() as session:
        quotas.check_storage(session, caller.owner_id, caller.limits.max_stored_bytes, more=size or 0)
        return retention.expiry(session, expires_at, service.settings.upload_retention_seconds)


@asynccontextmanager
async def _spool(
    request: Request, service: Service, reader: Reader, name: str | None, check: Callable[[int], object] | None
) -> AsyncIterator[Spooled]:
    """The body in a file; `check` is asked now and then about the bytes that have come, if nobody announced them."""
    content_type = request.headers.get("content-type", "")
    form = FileForm(content_type) if bodies.media_type(request) == "multipart/form-data" else None
    body = bodies.arriving(request)
    digest, size = hashlib.sha256(), 0
    with TemporaryFile(dir=service.settings.spool_dir) as file:

        def write(block: bytes, end: int) -> None:
            require_room(service.settings)
            if check is not None and end % _CHECK_EVERY < len(block):
                check(end)
            digest.update(block)
            file.write(block)

        async with bodies.Behind() as behind:
            async for block in bodies.blocks(form.file(body) if form else body, _BLOCK):
                if size == 0:
                    recognise(service, reader, block)
                size += len(block)
                await behind.do(write, block, size)
        if size == 0:
            recognise(service, reader, b"")
        file.flush()
        asked = name or (form and (form.name or form.file_name)) or ""
        sha256 = digest.hexdigest()
        yield Spooled(path_of(file), sha256, size, label(asked, sha256))


def recognise(service: Service, reader: Reader, head: bytes) -> None:
    """Look at a file's first bytes.

    Raises:
        OctetError: One of `REFUSALS`, if they are those of something else.
    """
    try:
        reader.recognise(head)
    except REFUSALS:
        service.telemetry.uploaded(reader.kind, len(head), "refused")
        raise


def path_of(file: BinaryIO) -> Path:
    """A path that leads to a file without a name, from within this process."""
    return Path(f"/dev/fd/{file.fileno()}")


def label(asked: str | None, sha256: str) -> str:
    """What `asked` leaves of a name once all that is not one line of plain letters is gone; else the hash's beginning.

    A name comes from a stranger and is only ever shown: no path, no control characters, nothing that turns round the
    direction of what follows.
    """
    base = re.split(r"[/\\]", asked or "")[-1]
    return one_line(base).strip(" .")[:_MAX_NAME] or sha256[:12]


def _unnoted(_: Session, __: Row) -> None:
    """Nothing else depends on it."""


def keep(  # noqa: PLR0917 - as `take_in`
    service: Service,
    caller: Identity,
    reader: Reader,
    spooled: Spooled,
    expires_at: datetime | None,
    note: Callable[[Session, Row], None] = _unnoted,
) -> tuple[Row, bool]:
    """Read a file through and store it.

    It is read while no transaction is open: a large model takes seconds, and a connection is worth more.

    Args:
        service: The parts of the app.
        caller: Whose it will be.
        reader: What kind of file it is.
        spooled: The file.
        expires_at: When it is deleted by itself; None: never.
        note: Called in the transaction that makes the row, or finds the one there was.

    Returns:
        The row, and whether it is new.

    Raises:
        OctetError: One of `REFUSALS`, if it is not what `reader` reads.
    """
    owner_id, kind, sha256, size = caller.owner_id, reader.kind, spooled.sha256, spooled.size
    with service.database.begin() as session:
        row, created = uploads.renew(session, kind, sha256, owner_id=owner_id, expires_at=expires_at), False
        if row is not None:
            note(session, row)
    if row is None:
        try:
            spec = reader.describe(spooled.path)
        except REFUSALS:
            service.telemetry.uploaded(kind, size, "refused")
            raise
        with spooled.path.open("rb") as stream, service.database.begin() as session:
            row, created = uploads.create(
                session,
                kind,
                owner_id=owner_id,
                name=spooled.name,
                sha256=sha256,
                size=size,
                spec=spec,
                stream=stream,
                expires_at=expires_at,
            )
            if created:
                audit.record(session, caller.actor, f"{kind}.create", row.id, name=row.name, size=size, sha256=sha256)
            note(session, row)
            quotas.check_storage(session, owner_id, caller.limits.max_stored_bytes)
    service.telemetry.uploaded(kind, size, "stored" if created else "known")
    return row, created

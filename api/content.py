"""A stored file as an answer: RFC 9110 entity tags and ranges, RFC 9530 digest, RFC 6266 name, memory kept flat."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi.responses import Response, StreamingResponse

from api import bodies, problems
from store import blobs

if TYPE_CHECKING:
    from fastapi import Request

    from store import tables
    from store.database import Database

# Eighteen digits are more than any file has bytes, and Python refuses to read more than 4300.
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class File:
    """A blob under the name it is to be saved as."""

    sha256: str
    size: int
    name: str
    media_type: str = "application/octet-stream"

    @property
    def etag(self) -> str:
        """Content-addressed, so strong and the same for ever."""
        return f'"{self.sha256}"'


# What OpenAPI says of a route that answers with a file.
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": {"application/octet-stream": {}}},
    206: {"description": "The part that `Range` asks for.", "content": {"application/octet-stream": {}}},
    304: {"description": "It is what `If-None-Match` names."},
    **problems.documented("not_found", "range_not_satisfiable"),
}


def of_upload(row: tables.Model | tables.Dataset) -> File:
    """A model or a dataset that has not been deleted."""
    return File(str(row.sha256), row.size, row.name)


def answer(request: Request, database: Database, file: File) -> Response:
    """`file`, or the one range of it that `request` asks for, or 304, or 416."""
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": _attachment(file.name),
        "ETag": file.etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:",
    }
    if matches(request.headers.get("if-none-match"), file.etag):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(file.size)}, media_type=file.media_type)
    start, end, status = 0, file.size, 200
    asked = _asked_range(request, file)
    if asked is not None:
        start, end, status = *asked, 206
        if start >= end:
            headers = {"Content-Range": f"bytes */{file.size}"}
            detail = f"The file has {file.size:,} bytes; the range asks for others."
            return problems.response("range_not_satisfiable", detail, headers=headers)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    headers["Content-Length"] = str(end - start)
    body = bodies.ahead(blobs.stream(database, file.sha256, start=start, end=end))
    return StreamingResponse(body, status_code=status, headers=headers, media_type=file.media_type)


def matches(condition: str | None, etag: str) -> bool:
    """Whether an If-None-Match header names `etag`, by RFC 9110's weak comparison."""
    if condition is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in condition.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


def _asked_range(request: Request, file: File) -> tuple[int, int] | None:
    """The range asked for as [start, end), empty if it lies outside the file; None: the whole file.

    A header that is not one range of bytes is ignored, as RFC 9110 allows, and so is one whose If-Range is not current.
    """
    asked = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if asked is None or request.headers.get("if-range", file.etag) != file.etag:
        return None
    first, last = asked.groups()
    if first and last and int(last) < int(first):
        return None
    if first:
        return int(first), min(int(last) + 1, file.size) if last else file.size
    return (max(file.size - int(last), 0), file.size) if last else None


def _attachment(name: str) -> str:
    """RFC 6266: the name in ASCII for old readers, and in UTF-8 where that says more."""
    plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
    header = f'attachment; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"

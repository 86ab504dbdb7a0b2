"""A file on its way to the service: in one piece if it is small, else in as many as the line takes."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from octet.client.errors import ServiceError, ServiceUnreachableError
from octet.client.outage import Outage
from octet.client.transport import read
from octet.errors import OctetError
from octet.wire import PartialUpload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from typing import BinaryIO

    import httpx

    from octet.client.transport import Transport

    OnBytes = Callable[[int, int], None]

Kind = Literal["model", "dataset"]

_CHUNK = 2**20
_RESUMABLE_FROM = 4 * 2**20  # what is smaller is sent anew in no time, and does with one request
# The service reads an upload through and checks every weight before it answers.
_CHECK_SECONDS = 600.0
_TUS = {"Tus-Resumable": "1.0.0"}
# Refusals that pass: the line was slow, another connection is still at it, the service is restarted.
_PASSING = frozenset({408, 409, 423, 500})


class UnreadableFileError(OctetError):
    """A file that was to be sent cannot be read."""

    code = "unreadable_file"


class FileBody:
    """A file as the body of a request: read in chunks of 1 MiB, so memory stays flat, and from the start each time.

    Args:
        path: The file.
        on_progress: Called with the bytes sent and the bytes in all, after each chunk.

    Raises:
        UnreadableFileError: If it cannot be read, or, later, if it no longer is what it was.
    """

    def __init__(self, path: str | Path, on_progress: OnBytes | None = None) -> None:
        self.path = Path(path)
        self._on_progress = on_progress
        with self._opened() as file:
            self.size = file.seek(0, 2)

    def __iter__(self) -> Iterator[bytes]:
        return self.rest(0)

    def rest(self, sent: int) -> Iterator[bytes]:
        """What follows the first `sent` bytes."""
        with self._opened() as file:
            file.seek(sent)
            while sent < self.size:  # and no further, where the file has grown since
                chunk = file.read(min(_CHUNK, self.size - sent))
                if not chunk:
                    raise UnreadableFileError(f"{self.path} became shorter while it was sent.")
                yield chunk
                sent += len(chunk)
                if self._on_progress:
                    self._on_progress(sent, self.size)

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            with self.path.open("rb") as file:
                yield file
        except OSError as error:
            raise UnreadableFileError(f"{self.path} cannot be read: {error.strerror}.") from error


def upload(transport: Transport, kind: Kind, body: FileBody, name: str, expires_at: datetime | None) -> httpx.Response:
    """Send a file.

    Returns:
        The answer that describes the model or dataset.

    Raises:
        ServiceError: If the service refuses it.
        ServiceUnreachableError: If the connection broke and could not be taken up again.
    """
    send = _in_one_piece if body.size < _RESUMABLE_FROM else _in_parts
    labels = {"filename" if send is _in_parts else "name": name}
    if expires_at is not None:
        labels["expires_at"] = expires_at.isoformat()
    return send(transport, kind, body, labels)


def _in_one_piece(transport: Transport, kind: Kind, body: FileBody, labels: dict[str, str]) -> httpx.Response:
    return transport.send(
        "POST",
        f"{kind}s",
        seconds=_CHECK_SECONDS,
        params=labels,
        content=body,
        headers={"Content-Length": str(body.size), "Content-Type": "application/octet-stream"},
    )


def _in_parts(transport: Transport, kind: Kind, body: FileBody, labels: dict[str, str]) -> httpx.Response:
    """By tus 1.0: whatever breaks the line, what has arrived is not sent again."""
    path, arrived = _begin(transport, kind, body, labels), 0
    outage = Outage(transport.patience, passing=_PASSING)
    while True:
        try:
            upload = read(PartialUpload, transport.attempt("GET", path))
            if upload.result is not None:
                return transport.attempt("GET", f"{kind}s/{upload.result}")
            if upload.received > arrived:
                outage.over()
            arrived = upload.received
            _send_rest(transport, path, body, arrived)
        except (ServiceError, ServiceUnreachableError) as error:
            outage.bear(error)


def _begin(transport: Transport, kind: Kind, body: FileBody, labels: dict[str, str]) -> str:
    """Announce the file; where its parts go."""
    pairs = {"kind": kind, **labels}.items()
    metadata = ",".join(f"{key} {base64.b64encode(value.encode(errors='replace')).decode()}" for key, value in pairs)
    headers = {"Upload-Length": str(body.size), "Upload-Metadata": metadata}
    answer = transport.send("POST", "uploads", headers={**_TUS, **headers})
    return f"uploads/{read(PartialUpload, answer).id}"


def _send_rest(transport: Transport, path: str, body: FileBody, arrived: int) -> None:
    """Send all that the service lacks. With the last byte it reads the file through, and then answers."""
    headers = {
        **_TUS,
        "Upload-Offset": str(arrived),
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(body.size - arrived),
    }
    transport.attempt("PATCH", path, seconds=_CHECK_SECONDS, headers=headers, content=body.rest(arrived))

"""A file on its way to the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from octet.errors import OctetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    OnBytes = Callable[[int, int], None]

_CHUNK = 2**20


class UnreadableFileError(OctetError):
    """A file that was to be sent cannot be read."""

    code = "unreadable_file"


class FileBody:
    """A file as the body of a request: read in chunks of 1 MiB, so memory stays flat, and from the start each time.

    Args:
        path: The file.
        on_progress: Called with the bytes sent and the bytes in all, after each chunk.

    Raises:
        UnreadableFileError: If there is no such file.
    """

    def __init__(self, path: str | Path, on_progress: OnBytes | None = None) -> None:
        self.path = Path(path)
        self._on_progress = on_progress
        try:
            with self.path.open("rb") as file:
                self.size = file.seek(0, 2)
        except OSError as error:
            raise UnreadableFileError(f"{path} cannot be read: {error.strerror}.") from error

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
                sent += len(chunk)
                if self._on_progress:
                    self._on_progress(sent, self.size)

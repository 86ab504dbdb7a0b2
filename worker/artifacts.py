"""What a job hands in. The child is not trusted: only these names, only plain files, only what is what it says it is.

To be called when the child is dead: what has been looked at stays as it is then.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from octet.errors import OctetError
from octet.manifest import Manifest, facts_of
from octet.report import Report

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

MEDIA_TYPES = {
    "model.pt": "application/octet-stream",
    "report.json": "application/json",
    "manifest.json": "application/json",
    "sample.safetensors": "application/octet-stream",
    "load.py": "text/x-python",
}
_MAX_JSON_BYTES = 32 * 2**20  # it is read whole; a report on ten thousand layers has a quarter of that
_MAX_JSON_VALUES = 500_000  # each that is wrong takes hundreds of bytes to say so


T = TypeVar("T", bound=BaseModel)


class BadOutputError(OctetError):
    """The job's process says it is done, but what it left is not what a job leaves."""

    code = "bad_output"


def collect(directory: Path, *, limit: int) -> list[tuple[str, str, Path]]:
    """The artifacts in `directory`, as (name, media type, path).

    Raises:
        BadOutputError: If one is missing, is not a plain file, has more than `limit` bytes, or is not what the manifest
            says.
    """
    if directory.is_symlink():
        raise BadOutputError("The job's output is not a directory.")
    for name in MEDIA_TYPES:
        open_plain(directory / name, limit=limit).close()
    manifest = _read(directory / "manifest.json", Manifest)
    if manifest.files != {name: facts_of(directory / name) for name in MEDIA_TYPES if name != "manifest.json"}:
        raise BadOutputError("The job's manifest is about other files.")
    return [(name, media_type, directory / name) for name, media_type in MEDIA_TYPES.items()]


def read_report(directory: Path, *, model_sha256: str) -> Report:
    """The report among the artifacts.

    Raises:
        BadOutputError: If it is not a report, or is about another model.
    """
    report = _read(directory / "report.json", Report)
    if report.model.sha256 != model_sha256:
        raise BadOutputError("The job's report is about another model.")
    return report


def _read(path: Path, kind: type[T]) -> T:
    with open_plain(path, limit=_MAX_JSON_BYTES) as file:
        text = file.read()
    # Each value but the first stands behind one of these.
    if sum(map(text.count, (b"[", b"{", b","))) > _MAX_JSON_VALUES:
        raise BadOutputError(f"The job's {path.name} has more than {_MAX_JSON_VALUES} values.")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:  # which is not asked what is wrong: it would say so of every value
        raise BadOutputError(f"The job's {path.name} is not one: it has {error.error_count()} mistakes.") from None


def open_plain(path: Path, *, limit: int) -> BufferedReader:
    """Open what the child left at `path`, and what it may still replace.

    Raises:
        BadOutputError: If it is missing, is not a plain file, or has more than `limit` bytes.
    """
    try:
        # Neither follows a link nor waits for the other end of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BadOutputError(f"The job left no {path.name}.") from None
    except OSError:  # a link or a socket
        raise BadOutputError(f"The job's {path.name} is not a plain file.") from None
    found = os.fstat(descriptor)
    plain = stat.S_ISREG(found.st_mode) and found.st_nlink == 1  # a second name might be one that the child cannot read
    if plain and found.st_size <= limit:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if not plain:
        raise BadOutputError(f"The job's {path.name} is not a plain file.")
    raise BadOutputError(f"The job's {path.name} has {found.st_size} bytes; {limit} are allowed.")

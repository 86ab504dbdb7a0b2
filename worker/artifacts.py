"""What a job hands in. The child is not trusted: only these names, only plain files, only what can be read back."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pydantic import ValidationError

from octet.errors import OctetError
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


class BadOutputError(OctetError):
    """The job's process says it is done, but what it left is not what a job leaves."""

    code = "bad_output"


def collect(directory: Path, *, limit: int) -> list[tuple[str, str, Path]]:
    """The artifacts in `directory`, as (name, media type, path).

    Raises:
        BadOutputError: If one is missing, is not a plain file, or has more than `limit` bytes.
    """
    for name in MEDIA_TYPES:
        open_plain(directory / name, limit=limit).close()
    return [(name, media_type, directory / name) for name, media_type in MEDIA_TYPES.items()]


def read_report(directory: Path, *, model_sha256: str) -> Report:
    """The report among the artifacts.

    Raises:
        BadOutputError: If it is not a report, or is about another model.
    """
    try:
        report = Report.model_validate_json((directory / "report.json").read_bytes())
    except ValidationError as error:
        raise BadOutputError(f"The job's report is not one: {error.errors()[0]['msg']}.") from error
    if report.model.sha256 != model_sha256:
        raise BadOutputError("The job's report is about another model.")
    return report


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
    if stat.S_ISREG(found.st_mode) and found.st_size <= limit:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise BadOutputError(f"The job's {path.name} is not a plain file.")
    raise BadOutputError(f"The job's {path.name} has {found.st_size} bytes; {limit} are allowed.")

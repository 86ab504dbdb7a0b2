"""The process that loads what a job has saved: forked beside the job's, confined like it, and idle until asked.

It has seen nothing of the job when it is asked, which is what makes its answer worth something, and it spares the job's
process the right to start another.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from octet.artifact.reload import largest_difference
from octet.errors import VerificationFailedError
from worker.protocol import Check, Checked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from octet.wire import SandboxLayer
    from worker.sandbox import Occupant


def main(_: Occupant, __: Sequence[SandboxLayer], descriptor: int) -> None:
    """Check one artifact, should there be one."""
    with socket.socket(fileno=descriptor) as asker, asker.makefile("rwb") as lines:
        line = lines.readline()
        if not line:
            return
        check = Check.model_validate_json(line)
        try:
            checked = Checked(difference=largest_difference(check.folder, check.engine, check.threads))
        except Exception as error:  # noqa: BLE001 - torch raises many kinds; the job says which
            checked = Checked(error=str(error))
        lines.write(checked.model_dump_json().encode() + b"\n")


class Checker:
    """That process, as the job's own asks it."""

    def __init__(self, descriptor: int) -> None:
        self._lines = socket.socket(fileno=descriptor).makefile("rwb")

    def __call__(self, folder: Path, engine: str, threads: int) -> float:
        """See `octet.artifact.Reload`."""
        self._lines.write(Check(folder=folder, engine=engine, threads=threads).model_dump_json().encode() + b"\n")
        self._lines.flush()
        line = self._lines.readline()
        if not line:
            raise VerificationFailedError("The process that was to load the saved model ended.")
        checked = Checked.model_validate_json(line)
        if checked.difference is None:
            raise VerificationFailedError(f"The saved model does not load and run in a fresh process: {checked.error}")
        return checked.difference

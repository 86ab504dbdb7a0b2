"""The API or the worker, as `up` runs it: a process of its own, with its own log, started again if it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from octet.errors import OctetError
from server.logs import tail

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).resolve().parents[1]
_DELAYS = (0.5, 1.0, 2.0)  # seconds before each restart; a part that dies once more was never well
_STEADY_SECONDS = 60.0  # after so long its restarts are forgotten
_STOP_SECONDS = 20.0  # and the grace of a worker

_log = structlog.get_logger()


class PartFailedError(OctetError):
    """A part of the service does not stay up."""

    code = "part_failed"


class Part:
    """One `octet-server` command in a process of its own."""

    def __init__(self, command: str, *, environment: Mapping[str, str], logs: Path, grace_seconds: float) -> None:
        self.command = command
        self._stop_seconds = grace_seconds + _STOP_SECONDS
        self._settled = False
        self.log_file = logs / f"{command}.log"
        self._environment = environment
        self._restarts = 0
        self._started = 0.0
        self._again_at: float | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `tend` sees to it from then on."""
        with self.log_file.open("ab") as log:
            # A session of its own: Ctrl-C reaches `up` alone, which stops the parts in order. And a pipe for its
            # standard input, which ends when `up` does, however it does.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "server", self.command, "--with-parent"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        self._started, self._again_at = time.monotonic(), None

    def tend(self) -> None:
        """Start it again if it died, after a moment; to be called often.

        Raises:
            PartFailedError: If it died too often before it was settled; the message ends with its log.
        """
        if self._process is None or self._process.poll() is None:
            return
        now = time.monotonic()
        if self._again_at is None:
            self._again_at = now + self._next_delay(now)
        elif now >= self._again_at:
            try:
                self.start()
            except OSError as error:  # no memory for another process, or nowhere to write its log: both may pass
                self._again_at = now + _DELAYS[-1]
                _log.warning("a part could not be started again yet", part=self.command, error=str(error))

    def settle(self) -> None:
        """It was seen to work: from now on it is started again however often it dies."""
        self._settled = True

    def stop(self) -> None:
        """Ask it to end in good order; `join` waits for that. Asked again, it hands back what it is busy with."""
        if self._process is not None:
            self._process.terminate()

    def join(self) -> None:
        """Wait for its end, and see to it if it does not come."""
        if self._process is None:
            return
        try:
            self._process.wait(self._stop_seconds)
        except subprocess.TimeoutExpired:
            _log.warning("a part did not stop in time and was killed", part=self.command)
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None  # noqa: S101 - for mypy: it was opened with a pipe
        self._process.stdin.close()
        self._process = None

    def _next_delay(self, now: float) -> float:
        if now - self._started > _STEADY_SECONDS:
            self._restarts = 0
        if self._restarts == len(_DELAYS) and not self._settled:
            raise PartFailedError(
                f"The {self.command} does not stay up. The end of {self.log_file}:\n{tail(self.log_file)}"
            )
        delay = _DELAYS[min(self._restarts, len(_DELAYS) - 1)]
        self._restarts += 1
        status = self._process.returncode if self._process else None
        _log.warning("a part died and is started again", part=self.command, status=status, seconds=delay)
        return delay


def environment(**settings: str) -> dict[str, str]:
    """The environment of a part: ours, these settings, and the checkout to import from."""
    path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **settings, "PYTHONPATH": path}

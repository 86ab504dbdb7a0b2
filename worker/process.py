"""A child process, its scratch directory and its channel, as the runner holds them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from worker.scratch import remove

if TYPE_CHECKING:
    from io import BufferedRandom
    from pathlib import Path

    from octet.wire import SandboxLayer
    from worker.protocol import Channel
    from worker.sandbox import Limits
    from worker.warmth import WarmProcess

LOG_TAIL_BYTES = 16 * 2**10
_LOG_TAIL_LINES = 200  # each becomes an entry of the worker's log
_EXIT_SECONDS = 5.0  # from hanging up to being gone, for a process that dies by itself

# How a process ended without a word, in words.
_DEATHS: dict[int, str] = {
    signal.SIGKILL: "was killed, most likely because the machine ran out of memory",
    signal.SIGSEGV: "crashed with SIGSEGV",
    signal.SIGBUS: "crashed with SIGBUS",
    signal.SIGILL: "crashed with SIGILL: this CPU lacks an instruction that a kernel uses",
    signal.SIGFPE: "crashed with SIGFPE",
    signal.SIGABRT: "was aborted by a library",
    signal.SIGXCPU: "used more CPU time than a job may",
    signal.SIGTERM: "was terminated from outside",
}


class Child:
    """One process for one job, forked from a warm one and confined. All that the job writes is in `scratch`.

    Attributes:
        warm: What it was forked from.
        scratch: Its directory.
        limits: What it may use.
        sandbox: What stands around it.
        channel: Over which it is given its assignment, and says how it comes along.
        pid: Its process id, and that of its process group.
    """

    def __init__(
        self,
        warm: WarmProcess,
        scratch: Path,
        channel: Channel,
        log: BufferedRandom,
        *,
        limits: Limits,
        sandbox: list[SandboxLayer],
        pids: tuple[int, int],
    ) -> None:
        self.warm = warm
        self.scratch = scratch
        self.limits = limits
        self.sandbox = sandbox
        self.channel = channel
        self.pid, self._pid_there = pids
        self._log = log
        self._buried = False
        self._status: int | None = None

    def death(self) -> str:
        """How it ended, once its channel has closed: the rest of a sentence that starts with "the job's process"."""
        self._bury(_EXIT_SECONDS)
        if self._status is None:
            return "stopped answering"
        if self._status >= 0:
            return f"stopped with exit status {self._status}"
        return _DEATHS.get(-self._status, f"was ended by signal {-self._status}")  # real-time signals have no names

    def log_lines(self) -> list[str]:
        """The last lines of what it and torch wrote, 200 lines and 16 KiB at most."""
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - LOG_TAIL_BYTES))
        return self._log.read(LOG_TAIL_BYTES).decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:]

    def kill(self) -> None:
        """End it and everything that it started, at once."""
        if not self._buried:
            # Its process id cannot belong to anyone else before it is buried.
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._bury(0.0)

    def close(self) -> None:
        """Kill it and remove what it wrote."""
        self.kill()
        self.channel.close()
        self._log.close()
        remove(self.scratch)

    def _bury(self, patience: float) -> None:
        if not self._buried:
            self._status = self.warm.bury(self._pid_there, patience)
            self._buried = True

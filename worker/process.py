"""A child process, its scratch directory and its channel, as the runner holds them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from worker.protocol import Channel

CHECKOUT = Path(__file__).resolve().parent.parent
LOG_TAIL_BYTES = 1024
_EXIT_SECONDS = 5.0  # from hanging up to being gone, for a process that dies by itself

# How a process ended without a word, in words.
_DEATHS = {
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
    """One process for one job, started ahead of it. Everything the job writes is in `scratch`, and goes with it.

    The process sees none of the worker's environment: no database, no Redis, no credentials.
    """

    def __init__(self, *, threads: int) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="octet-job-"))
        self._log = self.scratch / "log"
        ours, theirs = socket.socketpair()
        with theirs, self._log.open("wb") as log:
            # A session of its own makes it the leader of a process group that is killed as one.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.child", str(theirs.fileno())],
                cwd=self.scratch,
                env=_environment(self.scratch, threads),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.channel = Channel(ours)

    def death(self) -> str:
        """How it ended, once its channel has closed: the rest of a sentence that starts with "the job's process"."""
        try:
            status = self.process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return "stopped answering"
        if status >= 0:
            return f"stopped with exit status {status}"
        return _DEATHS.get(signal.Signals(-status), f"was ended by {signal.Signals(-status).name}")

    def log_tail(self) -> str:
        """The last KiB of what it and torch wrote."""
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")

    def kill(self) -> None:
        """End it and everything that it started, at once."""
        # Before wait(): until then the process group cannot belong to anyone else.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Kill it and remove what it wrote."""
        if self.process.returncode is None:
            self.kill()
        self.channel.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


def _environment(scratch: Path, threads: int) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": tempfile.gettempdir(),  # the child moves to its scratch once it knows where the machine's lock is
        "PYTHONPATH": str(CHECKOUT),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }

"""A warm process, as the runner holds it: it has loaded torch, and every child of its slot is forked from it."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from worker.process import Child
from worker.protocol import MAX_LINE, Buried, Bury, Channel, Fork, Forked, Warmed
from worker.sandbox import namespaces
from worker.sandbox.room import furnish
from worker.scratch import Home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octet.wire import SandboxLayer
    from store.settings import Settings
    from worker.alarm import Alarm

CHECKOUT = Path(__file__).resolve().parent.parent
_ANSWER_SECONDS = 10.0  # it forks and buries in milliseconds; a machine that swaps takes longer
_EXIT_SECONDS = 2.0
_SLOTS = count()

T = TypeVar("T", bound=BaseModel)

_log = structlog.get_logger()


class WarmProcess:
    """One `python -m worker.warm` and the directory in which its children have theirs.

    It sees none of the worker's environment: no database, no Redis, no credentials. When it is closed, or the worker is
    gone, it ends its children before itself.

    Attributes:
        warm: Whether it has loaded torch.
        engines: The engines that torch has; empty until then.
        sandbox: What stands around its children: one was asked, and had tried.
    """

    def __init__(self, settings: Settings) -> None:
        self.warm = False
        self.engines: list[str] = []
        self.sandbox: list[SandboxLayer] = []
        self._closed = False
        self._home = Home()
        home = self._home.path
        self._room = room = furnish(home, settings, slot=next(_SLOTS))
        wrapping = namespaces.bubblewrap(room)
        room.wrapped = wrapping is not None
        self._control, theirs = socket.socketpair()
        with theirs, (home / "log").open("wb") as log:
            command = [sys.executable, "-P", "-m", "worker.warm", str(theirs.fileno()), room.model_dump_json()]
            self._process = subprocess.Popen(
                [*(wrapping or ()), *command],
                cwd=home,
                env=_environment(home),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        _stand_back(self._process.pid, settings.job_nice)

    def fileno(self) -> int:
        """The descriptor that is readable when it has something to say, or is gone."""
        return self._control.fileno()

    def hear(self) -> bool:
        """Take in that it is warm, if it has said so; whether it lives.

        That is all it says without being asked: an idle one that is heard again is gone.
        """
        try:
            while not self._closed and select.select([self._control], [], [], 0)[0]:
                self._introduced()
        except OSError as error:
            _log.warning("a warm process died", error=str(error))
            self.close()
        return not self._closed

    def until_warm(self, alarm: Alarm) -> bool:
        """Wait until it is warm, or the alarm rings; whether it is warm.

        Raises:
            OSError: If it dies.
        """
        while not self.warm and alarm.reason is None:
            if self.fileno() in select.select([self.fileno(), alarm.fileno()], [], [])[0]:
                self._introduced()
        return alarm.reason is None

    def fork(self) -> Child:
        """A new child, confined and waiting for its assignment.

        Raises:
            OSError: If it cannot be had of this process, which is of no more use then.
        """
        scratch = Path(tempfile.mkdtemp(prefix="job-", dir=self._home.path))
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        log = (scratch / "log").open("a+b")
        try:
            with theirs:
                forked = self._ask(Fork(scratch=scratch), Forked, descriptors=[theirs.fileno(), log.fileno()])
            ready, pid = channel.introduction(_ANSWER_SECONDS)
        except OSError:
            channel.close()
            log.close()
            raise
        pids = (pid or forked.pid, forked.pid)
        return Child(self, scratch, channel, log, limits=self._room.limits, sandbox=ready.sandbox, pids=pids)

    def bury(self, pid: int, patience: float) -> int | None:
        """End a child that has `patience` seconds to end by itself; its exit status if it did."""
        try:
            return self._ask(Bury(pid=pid, patience=patience), Buried, seconds=patience + _ANSWER_SECONDS).status
        except OSError:
            # It is gone or stands still, and its children go with it: the kernel sees to that. What the child has left
            # may be a finished job, so the directory stays until `close`.
            self._process.kill()
            return None

    def close(self) -> None:
        """End it and its children."""
        if self._closed:
            return
        self._closed = True
        self._control.close()
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._home.close()

    def log(self) -> str:
        """What it wrote."""
        return (self._home.path / "log").read_text(encoding="utf-8", errors="replace")

    def _introduced(self) -> None:
        self.engines = self._read(Warmed).engines
        child = self.fork()
        self.sandbox = child.sandbox
        child.close()
        self.warm = True

    def _ask(
        self, request: BaseModel, kind: type[T], *, descriptors: Sequence[int] = (), seconds: float = _ANSWER_SECONDS
    ) -> T:
        line = request.model_dump_json().encode() + b"\n"
        socket.send_fds(self._control, [line], descriptors)
        return self._read(kind, seconds)

    def _read(self, kind: type[T], seconds: float = _ANSWER_SECONDS) -> T:
        self._control.settimeout(seconds)
        line = b""
        while not line.endswith(b"\n"):
            piece = self._control.recv(MAX_LINE)
            if not piece:
                msg = f"The warm process ended: {self.log()[-1024:]}"
                raise ConnectionError(msg)
            line += piece
        try:
            return kind.model_validate_json(line)
        except ValidationError as error:
            raise ConnectionError(str(error)) from error


def _stand_back(pid: int, nice: int) -> None:
    """Let every other session go first.

    Where Linux groups processes by session (sched(7), "autogroup"), it shares the CPU out among sessions, and
    the nice value of a process counts within its own alone.
    """
    with suppress(OSError):  # where it does not, or where nobody may say so
        Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")


def _environment(home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),  # a child moves to its scratch
        "PYTHONPATH": str(CHECKOUT),
        # It must have no thread when it forks. A child takes as many as its job may have.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }

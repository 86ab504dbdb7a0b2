"""The warm process: `python -m worker.warm FD ROOM`. It loads torch once, and forks a child for each job.

A process that forks must have one thread, or a lock that another one held stays locked in the child for ever. So this
one computes on one thread as it warms up, never looks for a GPU, and counts its threads before each fork. It never sees
an upload: a job's files and its child's channel pass it by. FD is its end of a socket pair with the runner; when the
runner's end closes, for whatever reason, it ends its children, removes the room's directory and ends.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from octet import measuring
from worker import checker, child
from worker.become import become
from worker.protocol import MAX_LINE, REQUEST, Buried, Bury, Fork, Forked, Warmed
from worker.sandbox import Occupant, Room, namespaces, user
from worker.sandbox.kernel import hide_from_jobs
from worker.scratch import remove
from worker.warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic import BaseModel

_DESCRIPTORS = 2  # that come with a request at most
_TASKS = Path("/proc/self/task")


class ThreadedError(RuntimeError):
    """Something started a thread in the process that is about to fork."""


class Warm:
    """The loop: one request, one answer."""

    def __init__(self, control: socket.socket, room: Room) -> None:
        self._control = control
        self._room = room
        self._children: set[int] = set()
        # A child's end makes this readable; Python's handlers alone would not end a select().
        self._woken, waker = socket.socketpair()
        self._woken.setblocking(False)
        waker.setblocking(False)
        self._waker = waker
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Answer until the runner hangs up."""
        try:
            engines = [name for name in torch.backends.quantized.supported_engines if name != "none"]
            self._say(Warmed(engines=engines))
            for line, descriptors in self._requests():
                match REQUEST.validate_json(line):
                    case Fork() as fork:
                        self._say(self._fork(fork, descriptors))
                    case Bury() as bury:
                        self._say(self._bury(bury))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the runner went away
        finally:
            for pid in self._children:
                _end(pid)

    def _requests(self) -> Iterator[tuple[bytes, list[int]]]:
        while True:
            line, descriptors, _, _ = socket.recv_fds(self._control, MAX_LINE, _DESCRIPTORS)
            if not line:
                return
            yield line, descriptors

    def _say(self, message: BaseModel) -> None:
        self._control.sendall(message.model_dump_json().encode() + b"\n")

    def _fork(self, fork: Fork, descriptors: list[int]) -> Forked:
        if _TASKS.exists() and len(list(_TASKS.iterdir())) > 1:
            msg = "The warm process has more than one thread."
            raise ThreadedError(msg)
        channel, log = descriptors
        jobs, checkers = socket.socketpair()
        user.give(fork.scratch, self._room)
        occupant = Occupant(self._room, fork.scratch, os.getpid())
        pid = _forked(child.main, occupant, [channel, jobs.fileno(), log], group=0)
        _forked(checker.main, occupant, [checkers.fileno(), log], group=pid)
        for end in (jobs, checkers):
            end.close()
        for descriptor in descriptors:
            os.close(descriptor)
        self._children.add(pid)
        return Forked(pid=pid)

    def _bury(self, bury: Bury) -> Buried:
        until = time.monotonic() + bury.patience
        while (status := _status(bury.pid)) is None and (remaining := until - time.monotonic()) > 0:
            readable = select.select([self._woken, self._control], [], [], remaining)[0]
            if self._control in readable:  # nothing is asked before the answer, so the runner has gone away
                break
            with suppress(BlockingIOError):
                self._woken.recv(MAX_LINE)
        _end(bury.pid)
        self._children.discard(bury.pid)
        return Buried(status=status)


def _forked(main: Callable[..., None], occupant: Occupant, descriptors: Sequence[int], *, group: int) -> int:
    """A child that runs `main`, in the process group `group`; 0: in one of its own."""
    pid = os.fork()
    if pid:
        os.setpgid(pid, group or pid)
        return pid
    status = 1
    try:
        layers, kept = become(occupant, descriptors)
        main(occupant, layers, *kept)
        status = 0
    except BaseException:  # noqa: BLE001 - nothing of the warm process may go on here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _status(pid: int) -> int | None:
    """The exit status of a child, which stays unburied; None: it lives."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _end(group: int) -> None:
    """Kill and bury a process group."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


def main(descriptor: int, room: Room) -> None:
    """Warm up, move in, then serve the runner."""
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    measuring.LOCK_FILE = room.lock  # it has no temporary directory in which to find the machine's
    warm_up()
    try:
        namespaces.enter(room)
    except OSError as error:
        room = room.model_copy(update={"shared": str(error)})
    hide_from_jobs()  # which could take over one of their own user, and with it the jobs to come
    gc.collect()
    gc.freeze()  # what is here now is never garbage: collecting it in a child would only copy its pages
    try:
        Warm(control, user.settled(room)).serve()
    finally:
        remove(room.home)


if __name__ == "__main__":
    main(int(sys.argv[1]), Room.model_validate_json(sys.argv[2]))

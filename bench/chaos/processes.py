"""Processes that the bench starts, breaks, and ends again; and what starts them again, as an init system would."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import psutil

from server.guarded import as_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

RESTART_SECONDS = 1.0  # from a death to the next start, as a supervisor is usually set
POLL_SECONDS = 0.05
_STOP_SECONDS = 20.0
_START_SECONDS = 120.0


class NeverCameTrueError(Exception):
    """What the bench waited for did not happen."""


def wait_until(condition: Callable[[], object], what: str, seconds: float = _START_SECONDS) -> None:
    """Return as soon as `condition` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NeverCameTrueError(f"waited {seconds:g} s for this: {what}")
        time.sleep(POLL_SECONDS)


class Process:
    """A command that can be started any number of times, each time at the same address.

    Args:
        name: Names its log.
        command: What to run.
        folder: Where its log goes.
        environment: All of its environment.
        ready: Whether it answers; default: it does as soon as it runs.
        stop_signal: What asks it to end in good order.
        account: Whom to run it as; default: ourselves.
        before: Called before each start.
        with_parent: It watches its standard input, and ends with the bench however that ends.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        ready: Callable[[], bool] = lambda: True,
        stop_signal: signal.Signals = signal.SIGTERM,
        account: str | None = None,
        before: Callable[[], None] = lambda: None,
        with_parent: bool = False,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.environment = dict(environment)
        self.command = list(command)
        self.kept_up = True
        self.starts = 0
        self._ready, self._before = ready, before
        self._stop_signal, self._account, self._with_parent = stop_signal, account, with_parent
        self._popen: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()
        self._died: float | None = None

    @property
    def pid(self) -> int:
        """Of its latest start."""
        assert self._popen is not None
        return self._popen.pid

    @property
    def alive(self) -> bool:
        with self._lock:
            return self._popen is not None and self._popen.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Start it unless it runs, and wait until it answers."""
        with self._lock:
            if not self.alive:
                self._before()
                with self.log.open("ab") as log:
                    # A session of its own: Ctrl-C reaches the bench alone, which ends them in order.
                    self._popen = subprocess.Popen(
                        self.command,
                        stdin=subprocess.PIPE if self._with_parent else subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=self.environment,
                        cwd="/" if self._account else None,
                        start_new_session=True,
                        **as_account(self._account),
                    )
                self.starts += 1
                self._died = None
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        wait_until(self._ready, f"{self.name} is ready")

    def tend(self) -> None:
        """Start it again if it died a while ago and is to be kept up."""
        with self._lock:
            if self.alive or not self.kept_up or self._popen is None:
                return
            self._died = self._died or time.monotonic()
            if time.monotonic() - self._died >= RESTART_SECONDS:
                self.start(wait=False)

    def send(self, number: signal.Signals) -> None:
        with self._lock:
            if self.alive:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.send(signal.SIGKILL)
        self.join()

    def join(self) -> None:
        assert self._popen is not None
        self._popen.wait()

    def down(self, number: signal.Signals) -> None:
        """End it by a signal, and leave it down until `up`."""
        self.kept_up = False
        self.send(number)
        self.join()

    def up(self) -> None:
        """Start it again, and wait until it answers."""
        self.start()
        self.kept_up = True

    def tree(self) -> list[psutil.Process]:
        """Itself and every process below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)]
        return []

    def ask_to_stop(self) -> None:
        """Ask it to end in good order; `stop` waits for that."""
        with self._lock:
            if self.kept_up and self._popen is not None:
                self.kept_up = False
                self.send(signal.SIGCONT)
                self.send(self._stop_signal)

    def stop(self) -> None:
        """End it and all below it, in good order if it will."""
        with self._lock:
            if self._popen is None:
                return
            below = self.tree()
            self.ask_to_stop()
            try:
                self._popen.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
            if self._popen.stdin is not None:
                self._popen.stdin.close()
            kill_all(below)


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL to those that live."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def lives(process: psutil.Process) -> bool:
    """Whether it still does anything."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Supervisor(threading.Thread):
    """Starts what died again after a second: what systemd, docker or `octet-server up` do for a service."""

    def __init__(self, processes: Mapping[str, Process]) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._processes = processes
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.1):
            for process in list(self._processes.values()):
                process.tend()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

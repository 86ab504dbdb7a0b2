"""The warm processes of a worker, one per slot: whoever has a job takes a child of one that has nothing to do."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import structlog

from worker import scratch
from worker.warmth import WarmProcess

if TYPE_CHECKING:
    from octet.wire import SandboxLayer
    from store.settings import Settings
    from worker.alarm import Alarm
    from worker.process import Child

_TRIES = 3  # of warm processes that die before they have forked

_log = structlog.get_logger()


class Spares:
    """Warm processes, started ahead and replaced when they die. Safe to use from several threads.

    Attributes:
        engines: The engines that this machine's torch has; empty until a warm process has said so.
        sandbox: What stands around a job's process on this machine; likewise.
    """

    def __init__(self, settings: Settings) -> None:
        self.engines: list[str] = []
        self.sandbox: list[SandboxLayer] = []
        self._settings = settings
        self._slots = settings.worker_slots
        self._idle: list[WarmProcess] = []
        self._taken = 0
        self._lock = Lock()
        scratch.sweep()
        self.tend()

    def take(self, alarm: Alarm) -> Child | None:
        """A child that waits for its assignment, tens of milliseconds from now if a warm process is idle.

        The caller closes it, and gives `child.warm` back after that.

        Returns:
            None if the alarm rang first.

        Raises:
            OSError: If one warm process after the other dies.
        """
        for _ in range(_TRIES):
            warm = self._take()
            try:
                if warm.until_warm(alarm):
                    return warm.fork()
            except OSError as error:
                _log.warning("a warm process died", error=str(error))
                warm.close()
                self.give_back(warm)
            else:
                self.give_back(warm)
                return None
        msg = f"{_TRIES} warm processes died, one after the other"
        raise ChildProcessError(msg)

    def give_back(self, warm: WarmProcess) -> None:
        """Put a warm process among the idle ones, to be replaced if it is dead."""
        with self._lock:
            self._taken -= 1
            self._idle.append(warm)
        self.tend()

    def tend(self) -> None:
        """Hear which are warm, bury the dead and start what is missing. To be called now and then."""
        with self._lock:
            self._idle = [warm for warm in self._idle if self._lives(warm)]
            try:
                while len(self._idle) + self._taken < self._slots:
                    self._idle.append(WarmProcess(self._settings))
            except OSError as error:  # the disk is full, for one
                _log.warning("no warm process could be started; trying again", error=str(error))

    def close(self) -> None:
        """End all that are idle, and start no more."""
        with self._lock:
            self._slots = 0
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> WarmProcess:
        self.tend()
        with self._lock:
            # A warm one before one that is still loading.
            self._idle.sort(key=lambda warm: not warm.warm)
            warm = self._idle.pop(0) if self._idle else WarmProcess(self._settings)
            self._taken += 1
            return warm

    def _lives(self, warm: WarmProcess) -> bool:
        if not self._slots:
            warm.close()
        if not warm.hear():
            return False
        if warm.warm:
            self.engines, self.sandbox = warm.engines, warm.sandbox
        return True

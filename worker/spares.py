"""Warm spares: children that have loaded torch and wait for a job, so that a job starts in milliseconds."""

from __future__ import annotations

from threading import Lock

import structlog

from worker.process import Child
from worker.protocol import ProtocolError, Ready

_log = structlog.get_logger()


class Spares:
    """One child per slot, started ahead and replaced after use. Safe to use from several threads.

    Attributes:
        engines: The engines that this machine's torch has; empty until a child has said so.
    """

    def __init__(self, slots: int, *, threads: int) -> None:
        self.engines: list[str] = []
        self._slots = slots
        self._threads = threads
        self._idle: list[Child] = []
        self._taken: set[Child] = set()
        self._lock = Lock()
        self.tend()

    def take(self) -> Child:
        """A child, most likely a warm one. The caller closes it."""
        with self._lock:
            self._hear()
            child = self._idle.pop(0) if self._idle else Child(threads=self._threads)
            self._taken.add(child)
            return child

    def replace(self, child: Child) -> None:
        """Start the successor of a child that was taken; to be called when its job has ended."""
        with self._lock:
            self._taken.discard(child)
        self.tend()

    def tend(self) -> None:
        """Hear what the spares have to say, bury the dead and start what is missing. To be called now and then."""
        with self._lock:
            self._hear()
            while len(self._idle) + len(self._taken) < self._slots:
                self._idle.append(Child(threads=self._threads))

    def close(self) -> None:
        """End every spare, and start no more."""
        with self._lock:
            self._slots = 0
            while self._idle:
                self._idle.pop().close()

    def _hear(self) -> None:
        self._idle = [child for child in self._idle if self._lives(child)]

    def _lives(self, child: Child) -> bool:
        try:
            while child.channel.readable():
                for message in child.channel.receive():
                    if isinstance(message, Ready):
                        self.engines = message.engines
        except (EOFError, ProtocolError):
            _log.warning("a warm spare died", how=child.death(), log=child.log_tail())
            child.close()
            return False
        return True

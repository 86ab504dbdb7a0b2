"""What a worker does every so often, and goes on doing whatever happens."""

from __future__ import annotations

from contextvars import copy_context
from threading import Event, Thread
from typing import TYPE_CHECKING

import structlog

from store.database import UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger()


class Rounds:
    """A thread that calls `do` at once, and then with so many seconds between two calls.

    Nothing ends it but `stop`: what fails is tried again the next time. Postgres and Redis may restart as they like.
    """

    def __init__(self, name: str, do: Callable[[], None], *, seconds: float) -> None:
        self._name = name
        self._do = do
        self._seconds = seconds
        self._stopped = Event()
        # In the maker's context: where that is a job's, the lines in the log name the job.
        self._thread = Thread(target=copy_context().run, args=(self._run,), name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, wait: float | None = None) -> None:
        """Begin no further round, and wait for the end of this one, for up to `wait` seconds."""
        self._stopped.set()
        self._thread.join(wait)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._do()
            except UNAVAILABLE as error:
                _log.warning("the database is away; trying again", round=self._name, error=str(error))
            except Exception:  # noqa: BLE001 - without this thread what it does would stay undone, so nothing may end it
                _log.exception("a round failed; trying again", round=self._name)
            self._stopped.wait(self._seconds)

"""The service's housekeeping. Every worker does it, beside its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from store import idempotency, outbox, retention
from worker import webhooks
from worker.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from store.database import Database
    from store.settings import Settings

_STOP_SECONDS = 2.0

_log = structlog.get_logger()


@dataclass(frozen=True)
class Chore:
    """Something to do every so often. It has a thread of its own, so a slow one holds up no other.

    It may be cut off at any moment, and other workers may be at it at the same time: what must happen once takes a row
    or a `store.locks.Lock` first.
    """

    name: str
    do: Callable[[Database, Settings], None]
    seconds: float  # between two rounds


def _forget(database: Database, settings: Settings) -> None:
    """Remove what was kept for long enough."""
    with database.begin() as session:
        idempotency.delete_expired(session, settings.idempotency_seconds)
        outbox.delete_old(session)


def _sweep(database: Database, _: Settings) -> None:
    """Delete what has expired."""
    if swept := retention.sweep(database):
        _log.info("deleted what has expired", count=swept)


def _collect(database: Database, _: Settings) -> None:
    """Free content that nothing refers to."""
    if collected := retention.collect(database):
        _log.warning("freed content that nothing refers to", count=collected)


CHORES: tuple[Chore, ...] = (
    Chore("webhooks", webhooks.deliver, seconds=1.0),
    Chore("forgetting", _forget, seconds=600.0),
    Chore("sweeping", _sweep, seconds=5.0),
    Chore("collecting", _collect, seconds=600.0),
)


class Chores:
    """All of them, from `start()` to `stop()`."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._rounds = [
            Rounds(chore.name, partial(chore.do, database, settings), seconds=chore.seconds) for chore in CHORES
        ]

    def start(self) -> None:
        """Begin, with a first round of each at once."""
        for rounds in self._rounds:
            rounds.start()

    def stop(self) -> None:
        """End; what takes longer than a moment is left to the next worker."""
        for rounds in self._rounds:
            rounds.stop(wait=_STOP_SECONDS)

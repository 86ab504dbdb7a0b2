"""Whether jobs can be taken and run: a look at every part, side by side, and an answer within seconds in any case."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import structlog

from api.disk import require_room
from api.errors import StorageFullError
from store import jobs, migrate, workers
from store.database import UNAVAILABLE, is_disk_full

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.service import Service

_SECONDS = 2.0  # a part that gives no answer in this time does not answer
_FRESH_SECONDS = 1.0  # anybody may ask, and nobody can make it look more often than this

_log = structlog.get_logger("api")


class Readiness:
    """Looks when it is asked, but not more often than once a second, and has at most one look at a part under way.

    Each look has a thread of its own. A Postgres that hangs keeps one of them, and nobody else: neither other requests
    nor the end of the process wait for it.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._looks: dict[str, Future[str]] = {}
        self._round: asyncio.Task[dict[str, str]] | None = None
        self._fresh_until = 0.0

    async def checks(self) -> dict[str, str]:
        """Each part, `ok` or what is wrong with it, in words that are fit for the public."""
        if self._round is None or (self._round.done() and time.monotonic() > self._fresh_until):
            self._round = asyncio.create_task(self._look_at_all())
        return await asyncio.shield(self._round)  # one who hangs up must not end it for the others

    async def _look_at_all(self) -> dict[str, str]:
        for part, check in _CHECKS.items():
            if part not in self._looks or self._looks[part].done():
                self._looks[part] = _in_a_thread(partial(_outcome, part, check, self._service))
        await asyncio.wait([asyncio.wrap_future(look) for look in self._looks.values()], timeout=_SECONDS)
        self._fresh_until = time.monotonic() + _FRESH_SECONDS
        return {
            part: self._looks[part].result() if self._looks[part].done() else check.otherwise
            for part, check in _CHECKS.items()
        }


class _Check(NamedTuple):
    """How to look at a part: the look gives what is wrong, if anything. And what to say where it gives no answer."""

    look: Callable[[Service], str | None]
    otherwise: str


def _database(service: Service) -> str | None:
    return "takes no writes: it is a standby, or was made read-only" if service.database.is_read_only() else None


def _schema(service: Service) -> str | None:
    return None if migrate.is_current(service.database) else _CHECKS["schema"].otherwise


def _broker(service: Service) -> str | None:
    return None if service.hints.ping() else _CHECKS["broker"].otherwise


def _workers(service: Service) -> str | None:
    with service.database.begin() as session:
        alive = workers.list_alive(session, service.settings.lease_seconds)
        needed = jobs.protocol_of_queue(session)
    if not alive:
        return _CHECKS["workers"].otherwise
    new_enough = any(worker.protocol >= needed for worker, _ in alive)
    return None if new_enough else "none is new enough for all that is queued: upgrade one"


def _disk(service: Service) -> str | None:
    try:
        require_room(service.settings)
        service.database.try_writing()
    except StorageFullError:
        return "has too little room where uploads wait"
    except UNAVAILABLE as error:
        if is_disk_full(error):
            return "has no room left for the database"
        raise
    return None


_CHECKS = {
    "database": _Check(_database, "does not answer"),
    "schema": _Check(_schema, "is not what this version needs: run `octet-server migrate`"),
    "broker": _Check(_broker, "does not answer; jobs are taken, and start a little later"),
    "workers": _Check(_workers, "none is known to be alive; jobs are taken, and wait for one"),
    "disk": _Check(_disk, "cannot be told how full it is: the database does not answer"),
}


def _outcome(part: str, check: _Check, service: Service) -> str:
    try:
        return check.look(service) or "ok"
    except Exception as error:  # noqa: BLE001 - whatever it is, this part is not ready; the answer is public, the log not
        _log.warning("not ready", part=part, error=str(error))
        return check.otherwise


def _in_a_thread(function: Callable[[], str]) -> Future[str]:
    future: Future[str] = Future()
    Thread(target=lambda: future.set_result(function()), name="readiness", daemon=True).start()
    return future

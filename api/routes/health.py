"""Whether the service lives, and whether it can take and run jobs."""

from collections.abc import Callable
from typing import NamedTuple

import structlog
from fastapi import APIRouter, Response

from api.service import Parts, Service
from octet import wire
from store import migrate, workers
from store.database import UNAVAILABLE

router = APIRouter(prefix="/health", tags=["health"])

_log = structlog.get_logger("api")


@router.get("/live", summary="Ask whether the process answers")
def live() -> wire.Health:
    """Always `ok`: the answer itself is the news. Needs no key."""
    return wire.Health(status="ok", checks={"api": "ok"})


@router.get(
    "/ready",
    summary="Ask whether jobs can be taken and run",
    responses={503: {"model": wire.Health, "description": "A part is missing; `checks` says which."}},
)
def ready(service: Parts, response: Response) -> wire.Health:
    """Looks at the database, its schema, Redis and the workers. Needs no key."""
    checks = {part: _outcome(part, check, service) for part, check in _CHECKS.items()}
    status = "ok" if all(outcome == "ok" for outcome in checks.values()) else "degraded"
    response.status_code = 200 if status == "ok" else 503
    return wire.Health(status=status, checks=checks)


class _Check(NamedTuple):
    holds: Callable[[Service], bool]
    otherwise: str


def _database(service: Service) -> bool:
    with service.database.engine.connect():  # the pool asks a connection whether it lives before it hands it out
        return True


def _schema(service: Service) -> bool:
    return migrate.is_current(service.database)


def _redis(service: Service) -> bool:
    return service.hints.ping()


def _workers(service: Service) -> bool:
    if not _schema(service):  # then there may be no table to look into
        return False
    with service.database.begin() as session:
        return bool(workers.list_alive(session, service.settings.lease_seconds))


_CHECKS = {
    "database": _Check(_database, "does not answer"),
    "schema": _Check(_schema, "is not the one this version needs: run `octet-server migrate`"),
    "redis": _Check(_redis, "does not answer; jobs are taken, and start when it is back"),
    "workers": _Check(_workers, "none is known to be alive; jobs are taken, and start when one is there"),
}


def _outcome(part: str, check: _Check, service: Service) -> str:
    """`ok`, or what is wrong; the reason goes to the log, since this answer is public."""
    try:
        return "ok" if check.holds(service) else check.otherwise
    except UNAVAILABLE as error:
        _log.warning("not ready", part=part, error=str(error))
        return check.otherwise

"""Whether the service lives, and whether it can take and run jobs."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response

from api.readiness import Readiness
from octet import wire

router = APIRouter(prefix="/health", tags=["health"])


async def _readiness(request: Request) -> Readiness:
    return cast("Readiness", request.app.state.readiness)


@router.get("/live", summary="Ask whether the process answers")
@router.head("/live", include_in_schema=False)  # as some load balancers ask
async def live() -> wire.Health:
    """Always `ok`: the answer itself is the news. Needs no key."""
    return wire.Health(status="ok", checks={"api": "ok"})


@router.get(
    "/ready",
    summary="Ask whether jobs can be taken and run",
    responses={503: {"model": wire.Health, "description": "A part is missing; `checks` says which."}},
)
@router.head("/ready", include_in_schema=False)
async def ready(readiness: Annotated[Readiness, Depends(_readiness)], response: Response) -> wire.Health:
    """Looks at the database, its schema, the broker, the workers and the disks. Needs no key.

    It answers within seconds whatever hangs, and looks at most once a second: an answer may be as old as that.
    """
    checks = await readiness.checks()
    status = "ok" if all(outcome == "ok" for outcome in checks.values()) else "degraded"
    response.status_code = 200 if status == "ok" else 503
    return wire.Health(status=status, checks=checks)

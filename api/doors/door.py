"""The one way in. It stands before the routes, so that nothing of a request's body is read for a stranger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders

from api import problems
from api.doors import credentials
from api.doors.caller import Identity, identity, require
from api.doors.origin import SAFE, is_cross_site
from api.errors import CrossSiteError, NotAdmittedError, RateLimitedError
from store import keys
from store.database import UNAVAILABLE
from store.rates import WINDOW_SECONDS

if TYPE_CHECKING:
    from uuid import UUID

    from fastapi import FastAPI, Request, Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.service import Service

# What anybody may ask for.
_PUBLIC = frozenset({"/", "/v1/openapi.json"})
_PUBLIC_BELOW = ("/static/", "/v1/health/")
# Signing in, which asks for the key itself, and out, which is no matter of scopes.
_SESSION = "/v1/session"

# What OpenAPI says of every route behind the doors.
REFUSALS = ("unauthorized", "insufficient_scope", "cross_site", "rate_limited")

_log = structlog.get_logger("api")


class Doors:
    """Lets a request in, with `scope["state"]["caller"]` telling whom it comes from, or answers 401, 403 or 429."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service: Service = scope["app"].state.service
        rate: dict[str, str] = {}

        async def send_with_rate(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(rate)
            await send(message)

        try:
            await _admit(service, scope, rate)
        except NotAdmittedError as error:
            await refusal(scope, error)(scope, receive, send_with_rate)
        except UNAVAILABLE as error:
            await problems.from_database(error)(scope, receive, send_with_rate)
        else:
            await self._app(scope, receive, send_with_rate)


def install(app: FastAPI) -> None:
    """Put the doors before everything that `app` has by now; what a route itself does not let in is refused alike."""

    async def not_admitted(request: Request, error: NotAdmittedError) -> Response:
        return refusal(request.scope, error)

    app.add_middleware(Doors)
    app.exception_handler(NotAdmittedError)(not_admitted)


def refusal(scope: Scope, error: NotAdmittedError) -> Response:
    """The answer to a request that is not let in, which is counted, and logged without what it came with."""
    service: Service = scope["app"].state.service
    service.telemetry.refused(error.reason)
    client = scope.get("client")
    _log.info("not let in", reason=error.reason, client=client and client[0])
    return problems.from_octet(error)


async def _admit(service: Service, scope: Scope, rate: dict[str, str]) -> None:
    """Find out whom a request comes from, unless it is one that anybody may make.

    Raises:
        NotAdmittedError: If it must not come in.
    """
    path, method = scope["path"], scope["method"]
    if path in _PUBLIC or path.startswith(_PUBLIC_BELOW):
        return
    if (path, method) == (_SESSION, "POST"):
        _refuse_cross_site(scope)
        return
    brought = credentials.of_request(scope)
    grant = brought.grant(await service.reader.first(*brought.lookup))
    if brought.kind == "session":
        _refuse_cross_site(scope)
    caller = identity(grant, service.settings)
    await limit_rate(service, caller, rate)
    if path != _SESSION:
        require(caller, "read" if method in SAFE else "submit")
    if grant.stale:
        await run_in_threadpool(_touch, service, grant.key_id)
    scope.setdefault("state", {})["caller"] = caller


async def limit_rate(service: Service, caller: Identity, rate: dict[str, str]) -> None:
    """Count a request, and tell in headers how things stand: draft-ietf-httpapi-ratelimit-headers-10.

    Raises:
        RateLimitedError: If it is one too many this minute.
    """
    limit = caller.limits.max_requests_per_minute
    if limit is None:
        return
    count, seconds = await service.rates.count(caller.key_id, limit)
    rate["RateLimit-Policy"] = f'"requests";q={limit};w={WINDOW_SECONDS}'
    rate["RateLimit"] = f'"requests";r={max(limit - count, 0)};t={seconds}'
    if count > limit:
        raise RateLimitedError(f"The key {caller.name!r} may make {limit:,} requests a minute.", retry_after=seconds)


def _refuse_cross_site(scope: Scope) -> None:
    if is_cross_site(scope["method"], Headers(scope=scope)):
        raise CrossSiteError(
            "The request was made by a page of another site.", reason="cross_site", hint="Programs send an API key."
        )


def _touch(service: Service, key_id: UUID) -> None:
    try:
        with service.database.begin() as session:
            keys.touch(session, key_id)
    except UNAVAILABLE as error:  # reading may still be possible, as with a disk that is full
        _log.warning("the use of a key could not be noted", error=str(error))

"""What every request goes through: an id, a log line, a count, headers that browsers need, and a limit on its body."""

from __future__ import annotations

import asyncio
import re
import time
from random import getrandbits
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from api import problems

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.telemetry import Telemetry

_log = structlog.get_logger("api")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

# The page has no inline script or style, talks to nobody but this service, and sends no form without its script: that
# would put a key into an address.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


# A body that comes slower than this, over all, keeps a connection for nothing. A modem was faster.
_LEAST_BYTES_PER_SECOND = 1000


class Envelope:
    """Gives each request an id, answers with it and the security headers, logs and counts it.

    An exception that nothing else turned into an answer becomes a problem here, and goes to the log with its traceback.
    And who still waits when the server stops, and cancels what it does for them, is asked to come again.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, request_id)
            await send(message)

        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            self._telemetry.in_flight.track_inprogress(),
        ):
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception:
                _log.exception("request failed", method=scope["method"], path=scope["path"])
                if status:  # half an answer is out: cutting the connection is all that is left
                    raise
                await problems.unexpected(request_id)(scope, receive, send_with_headers)
            except asyncio.CancelledError:
                if status:
                    raise
                await problems.unavailable("The service is being stopped.")(scope, receive, send_with_headers)
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "(none)")
                self._telemetry.answered(scope["method"], route, status, seconds)
                _log.info("request", method=scope["method"], path=scope["path"], status=status, seconds=seconds)


class BodyLimit:
    """Refuses a body that is too large, at once where its length is announced, and one that stands still or trickles.

    An answer that goes out before the whole body has come closes the connection: nobody reads the rest.

    Args:
        app: What comes next.
        default: Bytes a body may have.
        uploads: Paths whose bodies are files.
        max_upload: Bytes such a body may have.
        idle_seconds: How long a body may stand still.
    """

    def __init__(
        self, app: ASGIApp, *, default: int, uploads: re.Pattern[str], max_upload: int, idle_seconds: float
    ) -> None:
        self._app = app
        self._default = default
        self._uploads = uploads
        self._max_upload = max_upload
        self._idle_seconds = idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._max_upload if self._uploads.fullmatch(scope["path"]) else self._default
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        started, received = time.monotonic(), 0
        complete = announced == "0" and "transfer-encoding" not in headers

        def patience() -> float | None:
            trickles_at = started + self._idle_seconds + received / _LEAST_BYTES_PER_SECOND
            return None if complete else min(self._idle_seconds, trickles_at - time.monotonic())

        # FastAPI lets an HTTPException through, and only that, from where it reads a JSON body.
        async def receive_within_limit() -> Message:
            nonlocal received, complete
            try:
                async with asyncio.timeout(patience()):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, _too_slow(self._idle_seconds)) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > limit:
                raise HTTPException(413, _too_large(limit))
            return message

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and not complete:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        if announced.isdecimal() and int(announced) > limit:
            await problems.response("body_too_large", _too_large(limit))(scope, receive, send_and_close)
            return
        await self._app(scope, receive_within_limit, send_and_close)


def _too_large(limit: int) -> str:
    return f"The body is larger than the {limit:,} bytes that this address takes."


def _too_slow(seconds: float) -> str:
    slower = f"less than {_LEAST_BYTES_PER_SECOND} bytes a second for longer than that"
    return f"Nothing of the body came for {seconds:g} seconds, or {slower}."


def _request_id(headers: Headers) -> str:
    """The id the caller gave, if it is fit for a log, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"{getrandbits(128):032x}"  # no secret


def _add_headers(message: Message, request_id: str) -> None:
    headers = MutableHeaders(scope=message)
    headers["X-Request-Id"] = request_id
    for name, value in _SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "private, no-cache")  # kept, but asked for again: answers have entity tags

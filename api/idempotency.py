"""A POST that is repeated with the same Idempotency-Key is answered as it was the first time, and done once.

Two things make that true together. The *answer* is kept here, for every POST alike: a repetition gets it again, without
reaching a route. What a route *does* can be committed just before its process is killed, and then no answer was kept:
where doing it twice would matter, the route itself knows a key that was used. A job carries it in a unique index
(`store.jobs`), a webhook's id is made from it (`store.webhooks`), and the same bytes are one upload (`store.uploads`).

What is kept is what was decided for good. An answer that says to come again, or that something broke, is not kept, and
neither is one with a secret in it, which says so itself: `Cache-Control: no-store`.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import problems
from octet.wire import ProblemField
from store import idempotency
from store.database import UNAVAILABLE
from store.idempotency import LOST_SECONDS, Answer, Claim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.service import Service

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_KEY = 255

_MAX_ANSWER = 2**16  # bytes: a job whose recipe has hundreds of rules
_MAX_REST = 2**16  # bytes of a body that a route had no use for, and that are read for the sake of its hash
_COME_AGAIN = frozenset({408, 409, 423, 425, 429})
_SERVER_ERROR = 500

_log = structlog.get_logger("api")


class Idempotency:
    """Stands where the caller is known (`scope["state"]["caller"]`) and nothing of the body has been read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Threads of their own: a renewal that waits behind slow routes would come too late.
        self._renewals = CapacityLimiter(2)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        key = Headers(scope=scope).get(HEADER) if scope["type"] == "http" and scope["method"] == "POST" else None
        caller = scope.get("state", {}).get("caller")
        if key is None or caller is None:
            await self._app(scope, receive, send)
            return
        if not 1 <= len(key) <= MAX_KEY:
            await _bad_key()(scope, receive, send)
            return
        service, request = scope["app"].state.service, _Request(scope, receive)
        try:
            found = await run_in_threadpool(_claim, service, caller.key_id, key)
        except UNAVAILABLE as error:
            await problems.from_database(error)(scope, receive, send)
            return
        if isinstance(found, Claim):
            await self._first_time(service, found, request, send)
        else:
            answer = _in_progress() if found is None else await _again(found, request)
            await answer(scope, receive, send)

    async def _first_time(self, service: Service, claim: Claim, request: _Request, send: Send) -> None:
        """Let the request be handled; keep the answer before anybody sees it."""
        answer = _Held()

        async def hold(message: Message) -> None:
            if answer.released:
                await send(message)
                return
            answer.add(message)
            if answer.complete or answer.size > _MAX_ANSWER:
                await _settle(service, claim, request, answer)
                await answer.release(send)

        async with self._renewing(service, claim):
            try:
                await self._app(request.scope, request.receive, hold)
            except Exception:
                await _record(service, idempotency.forget, claim)
                raise

    @asynccontextmanager
    async def _renewing(self, service: Service, claim: Claim) -> AsyncIterator[None]:
        """Show, for as long as the request takes, that it is being handled."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(LOST_SECONDS / 4)
                await _record(service, idempotency.renew, claim, limiter=self._renewals)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()


class _Request:
    """A request whose body is hashed as it passes."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self._receive = receive
        self._hash = hashlib.sha256(_address(scope))
        self._announced = Headers(scope=scope).get("content-length", "")
        self._size = 0
        self._over: bool | None = None  # whether the body was whole; None: there is more to come

    async def receive(self) -> Message:
        """The next piece."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._over = self._over or False
        else:
            body = message.get("body", b"")
            self._hash.update(body)
            self._size += len(body)
            if not message.get("more_body", False):
                self._over = True
        return message

    async def read_on(self, limit: float) -> bool:
        """Read what was left of the body if it is no more than `limit` bytes; whether all of it has now been read."""
        end = self._size + limit
        if self._announced.isdecimal() and int(self._announced) > end:
            return False
        while self._over is None and self._size <= end:
            await self.receive()
        return self._over or False

    @property
    def sha256(self) -> str:
        """Of method, address and body: what must be the same for two requests to be one."""
        return self._hash.hexdigest()


class _Held:
    """An answer on its way out, held back until it is complete.

    Attributes:
        released: It is on its way; nothing is held any more.
    """

    def __init__(self) -> None:
        self.released = self.complete = False
        self.size = 0
        self._messages: list[Message] = []

    def add(self, message: Message) -> None:
        """Hold the next part."""
        self._messages.append(message)
        self.size += len(message.get("body", b""))
        self.complete = message["type"] == "http.response.body" and not message.get("more_body", False)

    async def release(self, send: Send) -> None:
        """Send everything."""
        self.released = True
        for message in self._messages:
            await send(message)

    def as_answer(self, request_sha256: str) -> Answer | None:
        """What to keep of it; None: it is not one to keep."""
        start, *rest = self._messages
        headers = Headers(raw=start["headers"])
        secret = "set-cookie" in headers or "no-store" in headers.get("cache-control", "")
        passing = start["status"] in _COME_AGAIN or start["status"] >= _SERVER_ERROR
        if secret or passing or not self.complete:
            return None
        body = b"".join(message.get("body", b"") for message in rest)
        return Answer(request_sha256, start["status"], dict(headers), body)


def _address(scope: Scope) -> bytes:
    """What a request asks for, but for its body. Uploads in parts (tus) say so in headers."""
    uploads = [b": ".join(header) for header in scope["headers"] if header[0].startswith(b"upload-")]
    return b"\n".join([scope["method"].encode(), scope["path"].encode(), scope["query_string"], *uploads, b""])


def _claim(service: Service, key_id: UUID, key: str) -> Claim | Answer | None:
    with service.database.begin() as session:
        return idempotency.claim(session, key_id, key, keep_seconds=service.settings.idempotency_seconds)


async def _settle(service: Service, claim: Claim, request: _Request, answer: _Held) -> None:
    try:
        whole = await request.read_on(_MAX_REST)  # of a body that broke off, or was refused half-way, nothing is known
    except HTTPException:  # it is too large, or too slow, as the answer will say
        whole = False
    kept = answer.as_answer(request.sha256) if whole else None
    if kept is None:
        await _record(service, idempotency.forget, claim)
    else:
        await _record(service, idempotency.keep, claim, kept)


async def _record(
    service: Service, write: Callable[..., None], *values: Any, limiter: CapacityLimiter | None = None
) -> None:
    """Write to a record. If that fails it is soon given up, and the request is handled anew when it comes again."""

    def commit() -> None:
        with service.database.begin() as session:
            write(session, *values)

    try:
        await to_thread.run_sync(commit, limiter=limiter)
    except UNAVAILABLE as error:
        _log.warning("an idempotency record could not be written", error=str(error))


async def _again(first: Answer, request: _Request) -> Response:
    """The answer to a request that comes again, or seems to."""
    try:
        whole = await request.read_on(float("inf"))
    except HTTPException as error:  # the body is too large, or too slow
        return problems.from_http(error)
    if not whole:
        return problems.response("incomplete_body", "The connection was closed before the body was complete.")
    if request.sha256 != first.request_sha256:
        return problems.response(
            "idempotency_mismatch",
            f"The {HEADER} was used before, for another request.",
            hint="Use a new key for each new request, and the same one only to repeat a request.",
        )
    return Response(first.body, first.status, {**first.headers, REPLAYED: "true"})


def _in_progress() -> Response:
    return problems.response(
        "idempotency_in_progress",
        f"The first request with this {HEADER} has not been answered yet.",
        hint="Repeat the request in a moment.",
        headers={"Retry-After": "1"},
    )


def _bad_key() -> Response:
    detail = f"The {HEADER} must have 1 to {MAX_KEY} characters."
    return problems.response("invalid_request", detail, errors=[ProblemField(parameter=HEADER, detail=detail)])

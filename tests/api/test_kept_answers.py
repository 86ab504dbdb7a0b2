"""Which answers are kept for a repetition, with routes made for the purpose."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from api.idempotency import Idempotency
from store import keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias
    from uuid import UUID

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from store.database import Database
    from store.settings import Settings

    Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

REPLAYED = "idempotent-replayed"


class KnownCaller:
    """Tells the app inside whom a request comes from, as the doors do."""

    def __init__(self, app: ASGIApp, key_id: UUID) -> None:
        self._app, self._key_id = app, key_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["caller"] = SimpleNamespace(key_id=self._key_id)
        await self._app(scope, receive, send)


@pytest.fixture
def twice(database: Database, settings: Settings) -> Callable[..., list[httpx.Response]]:
    """Sends the same request twice to a route; an answer that is replayed says so."""
    with database.begin() as session:
        key_id = keys.create(session, "test")[0].id

    def ask(handler: Handler, body: bytes = b"{}") -> list[httpx.Response]:
        app = Starlette(routes=[Route("/", handler, methods=["POST"])])
        app.add_middleware(Idempotency)
        app.add_middleware(KnownCaller, key_id=key_id)
        app.state.service = SimpleNamespace(database=database, settings=settings)

        async def both() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://octet") as http:
                return [await http.post("/", content=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]

        return asyncio.run(both())

    return ask


def answering(response: Callable[[], Response]) -> Handler:
    async def handler(request: Request) -> Response:
        await request.body()
        return response()

    return handler


def was_kept(answers: list[httpx.Response]) -> bool:
    assert REPLAYED not in answers[0].headers
    return REPLAYED in answers[1].headers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 400, 403, 404, 410, 413, 415, 422])
def test_what_was_decided_for_good_is_kept(twice: Callable[..., list[httpx.Response]], status: int) -> None:
    assert was_kept(twice(answering(lambda: Response(status_code=status))))


@pytest.mark.parametrize("status", [408, 409, 423, 425, 429, 500, 502, 503, 507])
def test_what_may_be_otherwise_the_next_time_is_not(twice: Callable[..., list[httpx.Response]], status: int) -> None:
    assert not was_kept(twice(answering(lambda: Response(status_code=status))))


@pytest.mark.parametrize("header", [("Cache-Control", "no-store"), ("Set-Cookie", "session=secret")])
def test_a_secret_is_not_kept(twice: Callable[..., list[httpx.Response]], header: tuple[str, str]) -> None:
    assert not was_kept(twice(answering(lambda: Response("secret", headers=dict([header])))))


def test_an_error_that_nobody_foresaw_is_not_kept(twice: Callable[..., list[httpx.Response]]) -> None:
    times = []

    async def handler(_: Request) -> Response:
        times.append(1)
        raise ZeroDivisionError

    assert [answer.status_code for answer in twice(handler)] == [500, 500]
    assert len(times) == 2


def test_an_answer_in_pieces_is_kept_whole(twice: Callable[..., list[httpx.Response]]) -> None:
    answers = twice(answering(lambda: StreamingResponse(iter([b"a", b"b"]), 201)))
    assert was_kept(answers)
    assert [answer.content for answer in answers] == [b"ab", b"ab"]


def test_an_answer_that_is_too_large_to_keep_arrives_all_the_same(
    twice: Callable[..., list[httpx.Response]],
) -> None:
    pieces = [b"x" * 2**19] * 5
    answers = twice(answering(lambda: StreamingResponse(iter(pieces))))
    assert not was_kept(answers)
    assert [answer.content for answer in answers] == [b"".join(pieces)] * 2


def test_a_body_that_the_route_had_no_use_for_counts(twice: Callable[..., list[httpx.Response]]) -> None:
    async def handler(_: Request) -> Response:
        return Response()

    assert was_kept(twice(handler))
    assert was_kept(twice(handler, b"x" * 2**15)) is False  # the same key, and another body


def test_a_refusal_does_not_wait_for_the_rest_of_a_large_body(twice: Callable[..., list[httpx.Response]]) -> None:
    async def handler(_: Request) -> Response:
        return Response(status_code=415)

    assert not was_kept(twice(handler, b"x" * 2**20))

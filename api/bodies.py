"""Bodies piece by piece: the blocking work on one piece is done while another one is on its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.errors import IncompleteBodyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any

    from fastapi import Request


def announced(request: Request) -> int | None:
    """Bytes that the body of `request` is to have; None if that is not said."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def media_type(request: Request) -> str:
    """What the body of `request` is said to be, without parameters and in small letters: RFC 9110, section 8.3.1."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def arriving(request: Request) -> AsyncIterator[bytes]:
    """The body of `request`, piece by piece.

    Raises:
        IncompleteBodyError: If the caller hangs up.
        HTTPException: If `api.middleware.BodyLimit` will not have more of it.
    """
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect as error:  # nobody is there to read it, but the log should tell it from a fault of ours
        raise IncompleteBodyError("The connection was closed before the body was complete.") from error


async def blocks(data: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """`data` in blocks of `size` bytes; the last one may be shorter. What came before an error comes before it here."""
    waiting = bytearray()
    try:
        async for piece in data:
            waiting += piece
            while len(waiting) >= size:
                yield bytes(waiting[:size])
                del waiting[:size]
    except (IncompleteBodyError, HTTPException):
        if waiting:
            yield bytes(waiting)
        raise
    if waiting:
        yield bytes(waiting)


async def ahead(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """`pieces`, each of them fetched in a thread while the one before it goes out."""

    def fetch() -> asyncio.Task[bytes | None]:
        return asyncio.create_task(run_in_threadpool(next, pieces, None))

    coming = fetch()
    try:
        while (piece := await coming) is not None:
            coming = fetch()
            yield piece
    finally:
        coming.cancel()


class Behind:
    """Does blocking work in a thread, one piece after the other, while its caller sees to the next piece.

    A context manager: at its end all work is done. What a piece of work raised is raised by the call after it.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.done()

    async def do(self, work: Callable[..., Any], *args: Any) -> None:
        """Begin `work`, once what was begun before is done."""
        await self.done()
        self._task = asyncio.create_task(run_in_threadpool(work, *args))

    async def done(self) -> None:
        """Wait until nothing is left to do."""
        task, self._task = self._task, None
        if task is not None:
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:  # as when the server stops: a thread cannot be
                await asyncio.wait({task})
                raise

"""How the API listens, and an end to connections that never say what they want, or never take it.

uvicorn waits for ever for the head of a request, and takes one of any size; and it waits for ever until an answer is
taken. So a few slow clients could hold every file descriptor of the process, and a single one all of its memory.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from fastapi import FastAPI

_GRACE_SECONDS = 5
_IDLE_SECONDS = 20  # longer than clients commonly keep a connection for later, so that it is they who close it

_REFUSAL = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class ImpatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, but a head must have arrived in full within a time, and within a size.

    The time runs from the opening of the connection, and for every further request from what comes first; in between
    uvicorn's own time-out of idle connections holds. An answer has no such end, but some of it must be taken, as TCP
    acknowledges it, within another time: RFC 5482, which Linux keeps to.
    """

    head_seconds: ClassVar[float] = 10.0
    head_bytes: ClassVar[int] = 64 * 2**10
    taking_seconds: ClassVar[float] = 60.0

    _deadline: asyncio.TimerHandle | None = None
    _arrived = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """A client is there, and has said nothing yet."""
        super().connection_made(transport)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            line = transport.get_extra_info("socket")
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.taking_seconds * 1000))
        self._expect_head()

    def on_message_begin(self) -> None:
        """The first byte of a request has arrived."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head has arrived; the body has a time-out of its own, in the app."""
        self._head_is_over()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Something has arrived."""
        if self.timeout_keep_alive_task is not None:  # which ends here, also for a blank line that begins no request
            self._expect_head()
        super().data_received(data)
        if self._deadline is not None:
            self._arrived += len(data)
            if self._arrived > self.head_bytes:
                self._head_is_over()
                self.transport.write(_REFUSAL)
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._head_is_over()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._arrived = 0
            self._deadline = self.loop.call_later(self.head_seconds, self.transport.close)

    def _head_is_over(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


_OPTIONS: dict[str, Any] = {
    "http": ImpatientProtocol,
    "ws": "none",
    "log_config": None,  # its lines go where all go
    "access_log": False,  # the app writes a line for each request itself
    "server_header": False,
    "timeout_keep_alive": _IDLE_SECONDS,
    "timeout_graceful_shutdown": _GRACE_SECONDS,
}


def server(app: FastAPI, **options: Any) -> uvicorn.Server:
    """What serves `app`; the options are uvicorn's: `host` and `port`, mostly."""
    return uvicorn.Server(uvicorn.Config(app, **{**_OPTIONS, **options}))

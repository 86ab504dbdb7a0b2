"""Clients that never say what they want are not waited for."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI, Request, Response

from server import connections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

QUICK = 0.3
LARGE = 2**24  # more than the kernel keeps for a connection


class Hasty(connections.ImpatientProtocol):
    """With less patience than anybody should have."""

    head_seconds = taking_seconds = QUICK


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    app = FastAPI()

    @app.get("/")
    async def answer() -> str:
        return "here"

    @app.get("/large")
    async def large() -> Response:
        return Response(bytes(LARGE))

    @app.post("/")
    async def slow(request: Request) -> int:
        await asyncio.sleep(2 * QUICK)
        return len(await request.body())

    with _serving(app) as port:
        yield port


@contextmanager
def _serving(app: FastAPI) -> Iterator[int]:
    server = connections.server(app, port=0, http=Hasty)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture
def client(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        yield client


def _head(*fields: str, method: str = "GET", path: str = "/") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: octet", *fields, "", ""]).encode()


def _send(client: socket.socket, pieces: Iterable[bytes], pause: float = 0.0) -> None:
    for piece in pieces:
        client.sendall(piece)
        time.sleep(pause)


def _rest(client: socket.socket) -> bytes:
    """All that comes until the server hangs up; it may do so before it has read everything."""
    received = b""
    try:
        while data := client.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def test_a_client_that_says_nothing_is_hung_up_on(client: socket.socket) -> None:
    assert _rest(client) == b""


def test_a_head_that_trickles_is_not_waited_for(client: socket.socket) -> None:
    started = time.monotonic()
    client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
    with pytest.raises(OSError, match=r"(?i)pipe|reset"):
        _send(client, (b"a" for _ in range(1000)), pause=QUICK / 20)
    assert time.monotonic() - started < 20 * QUICK


def test_a_head_without_end_is_refused(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
    with pytest.raises(OSError, match=r"(?i)pipe|reset"):
        _send(client, (b"a" * 65536 for _ in range(1000)))


def test_a_large_head_is_told_so(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"a" * (Hasty.head_bytes + 1))

    assert _rest(client).startswith(b"HTTP/1.1 431 ")


def test_a_request_may_take_longer_than_its_head(client: socket.socket) -> None:
    client.sendall(_head("Content-Length: 70000", method="POST") + b"a" * 70000)

    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_connection_is_kept_for_later_but_the_next_head_has_its_time_too(client: socket.socket) -> None:
    client.sendall(_head())
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    time.sleep(1.5 * QUICK)
    client.sendall(_head())
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")

    client.sendall(b"GET / HTTP/1.1\r\n")
    assert _rest(client) == b""


def test_blank_lines_keep_no_connection(client: socket.socket) -> None:
    client.sendall(_head())
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")

    client.sendall(b"\r\n")  # with which no request begins
    assert _rest(client) == b""


def test_a_client_that_does_not_take_its_answer_is_hung_up_on(client: socket.socket) -> None:
    client.sendall(_head(path="/large"))
    with pytest.raises(OSError, match=r"(?i)pipe|reset"):
        _send(client, [b"\r\n"] * 100, pause=QUICK / 10)  # which mean nothing between requests


def test_a_client_that_takes_its_answer_slowly_gets_it(client: socket.socket) -> None:
    client.sendall(_head("Connection: close", path="/large"))
    received = client.recv(2**20)
    time.sleep(QUICK / 2)
    for _ in range(4):
        received += client.recv(2**20)
        time.sleep(QUICK / 2)

    assert (received + _rest(client)).endswith(bytes(LARGE))

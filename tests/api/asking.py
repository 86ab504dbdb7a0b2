"""Words for what tests of the API ask again and again."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy import func, select

from store.tables import Blob, Dataset, Model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx

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

"""Following a job: long polls and server-sent events, woken by the database, with a look of their own now and then."""

from __future__ import annotations

import hashlib
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from api import present
from api.content import matches
from octet import wire
from store import events, jobs
from store.errors import NotFoundError
from store.status import STATUS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from fastapi import Request

    from api.service import Service

MAX_WAIT = 60
_LOOK_SECONDS = 5.0  # for when the connection that listens for changes is down
_HEARTBEAT_SECONDS = 10.0
_EVENTS_AT_ONCE = 500


def asked_wait(prefer: str | None) -> int | None:
    """The seconds that a Prefer header (RFC 7240) asks to wait, at most `MAX_WAIT`."""
    asked = re.search(r"(?:^|[,;\s])wait=\"?(\d{1,9})", prefer or "")
    return min(int(asked[1]), MAX_WAIT) if asked else None


class Shown(NamedTuple):
    """A job as the answer shows it.

    Attributes:
        finished: Whether it will stay like this.
        body: JSON of an `octet.wire.Job`.
        etag: Changes with anything in it.
    """

    finished: bool
    body: bytes
    etag: str


async def read_job(service: Service, owner_id: UUID, job_id: UUID) -> Shown:
    """The job as it is now.

    Raises:
        NotFoundError: If the owner has none of that id.
    """
    row = await service.reader.first(STATUS, {"job_id": job_id, "owner_id": owner_id})
    if row is None:
        raise NotFoundError(f"There is no job {job_id}.")
    job = wire.Job.model_validate_json(row[0])
    body = job.model_dump_json().encode()
    return Shown(job.finished, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


async def wait_for_job(request: Request, owner_id: UUID, job_id: UUID, seconds: float, known: str | None) -> Shown:
    """The job once it has finished, once it is no longer what the caller knows, or after `seconds`.

    Args:
        request: Whoever has hung up waits no longer.
        owner_id: Whose it must be.
        job_id: The job.
        seconds: How long to wait at most.
        known: The caller's If-None-Match; None: only the end is news.
    """
    service: Service = request.app.state.service
    end = time.monotonic() + seconds
    with service.waiter.watch(job_id) as watch:
        while True:
            job = await read_job(service, owner_id, job_id)
            news = job.finished if known is None else not matches(known, job.etag)
            left = end - time.monotonic()
            if news or job.finished or left <= 0 or await request.is_disconnected():
                return job
            await watch.wait(min(left, _LOOK_SECONDS))


def read_events(service: Service, owner_id: UUID, job_id: UUID, after: int) -> tuple[list[wire.Event], bool]:
    """The job's next events, and whether they are its last.

    Raises:
        NotFoundError: If the owner has no job of that id.
    """
    with service.database.begin() as session:
        # The state first: once it is final, so are the events that are read after it.
        finished = jobs.get(session, job_id, owner_id=owner_id).state in wire.FINISHED
        rows = events.list_events(session, job_id, after=after, limit=_EVENTS_AT_ONCE)
        return [present.event(row) for row in rows], finished and len(rows) < _EVENTS_AT_ONCE


async def stream_events(service: Service, owner_id: UUID, job_id: UUID, after: int) -> AsyncIterator[bytes]:
    """The job's events from `after` on, as they happen, until its last."""
    with service.waiter.watch(job_id) as watch:
        while True:
            found, last = await run_in_threadpool(read_events, service, owner_id, job_id, after)
            for event in found:
                after = event.id
                yield format_sse_event(id=str(event.id), event=event.kind, data_str=event.model_dump_json())
            if last:
                return
            if not found and not await watch.wait(_HEARTBEAT_SECONDS):
                yield KEEPALIVE_COMMENT

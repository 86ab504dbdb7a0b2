"""A job, seen from the client: wait for it, watch it, cancel it, fetch what it made."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from octet.client.download import download
from octet.client.errors import (
    JobCancelledError,
    JobFailedError,
    ServiceError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from octet.client.outage import Outage
from octet.client.transport import Transport, decode, read
from octet.report import Report
from octet.wire import Artifact, Event, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from uuid import UUID

    from octet.errors import OctetError

    OnUpdate = Callable[[Job], None]
    OnBytes = Callable[[int, int], None]

_POLL_SECONDS = 20.0
_UNCHANGED = frozenset({httpx.codes.NOT_MODIFIED.value})


class JobHandle:
    """A job of the service.

    Attributes:
        id: Its id.
    """

    def __init__(self, transport: Transport, job_id: UUID) -> None:
        self.id = job_id
        self._transport = transport
        self._path = f"jobs/{job_id}"

    def __repr__(self) -> str:
        return f"JobHandle({str(self.id)!r})"

    def refresh(self) -> Job:
        """The job as it is now."""
        return self._transport.get(Job, self._path)

    def wait(self, timeout: float | None = None, on_update: OnUpdate | None = None) -> Job:
        """The job once it has succeeded. A service that restarts meanwhile is waited for.

        Args:
            timeout: Seconds to wait at most, rounded up to whole ones.
            on_update: Called with the job as it is first seen and whenever it has changed.

        Raises:
            JobFailedError: If it failed.
            JobCancelledError: If it was cancelled.
            WaitTimeoutError: If the time was up. The job goes on.
        """
        for job in self._changes(timeout):
            if on_update:
                on_update(job)
            if job.state == "failed":
                raise JobFailedError(job)
            if job.state == "cancelled":
                raise JobCancelledError(job)
            if job.state == "succeeded":
                return job
        raise WaitTimeoutError(
            f"Job {self.id} has not finished within {timeout:g} s.", hint="It goes on; wait again, or cancel it."
        )

    def _changes(self, timeout: float | None) -> Iterator[Job]:
        """The job as it is first seen and whenever it has changed, until the time is up."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        outage = Outage(self._transport.patience, until=end)
        etag = None
        while True:
            try:
                response = self._poll(etag, max(0.0, min(_POLL_SECONDS, end - time.monotonic())))
            except (ServiceError, ServiceUnreachableError) as error:
                if etag is None and isinstance(error, ServiceUnreachableError):  # it was not there to begin with
                    raise
                outage.bear(error)
            else:
                outage.over()
                if response.status_code != httpx.codes.NOT_MODIFIED:
                    etag = response.headers.get("ETag", "")
                    yield read(Job, response)
            if time.monotonic() >= end:
                return

    def _poll(self, etag: str | None, seconds: float) -> httpx.Response:
        """The first answer is given at once; further ones when the job has changed, or unchanged after `seconds`."""
        known = {} if etag is None else {"If-None-Match": etag, "Prefer": f"wait={max(1, math.ceil(seconds))}"}
        return self._transport.attempt("GET", self._path, headers=known, seconds=seconds, answers=_UNCHANGED)

    def events(self, after: int | None = None) -> Iterator[Event]:
        """What happened to the job, from the beginning, then as it happens, until it has finished.

        Args:
            after: Leave out the events up to this id.
        """
        self.refresh()  # a service that is not there to begin with is not waited for
        outage = Outage(self._transport.patience)
        while True:
            broken: OctetError = ServiceUnreachableError(f"The service broke off the events of job {self.id}.")
            try:
                with self._transport.server_sent_events(f"{self._path}/events", _from(after)) as messages:
                    outage.over()
                    for message in messages:
                        event = decode(Event, message.data)
                        after = event.id
                        yield event
                if read(Job, self._poll(None, 0.0)).finished:
                    return
            except (ServiceError, ServiceUnreachableError) as error:
                broken = error
            outage.bear(broken)

    def cancel(self) -> Job:
        """Cancel the job, and return it: `cancelled` if it was waiting, `cancelling` if a worker has to be told.

        Raises:
            ServiceError: `job_ended`, if it has ended.
        """
        return read(Job, self._transport.send("POST", f"{self._path}/cancel"))

    def report(self) -> Report:
        """What the job did, and what it did to the model.

        Raises:
            ServiceError: If it has not succeeded.
        """
        return self._transport.get(Report, f"{self._path}/report")

    def artifacts(self) -> list[Artifact]:
        """The files the job made."""
        return self._transport.get(list[Artifact], f"{self._path}/artifacts")

    def download(
        self, directory: str | Path, names: Collection[str] | None = None, on_progress: OnBytes | None = None
    ) -> list[Path]:
        """Fetch the files the job made. What is whole is left alone, what broke off goes on.

        Args:
            directory: Where to; it is made if it is missing.
            names: Only these files.
            on_progress: Called with the bytes that are there and the bytes in all.

        Raises:
            UnexpectedAnswerError: If the job has no file of that name.
            DamagedDownloadError: If the bytes are not those the service holds.
        """
        artifacts = self._select(names)
        total = sum(artifact.size for artifact in artifacts)
        there = 0

        def on_bytes(gained: int) -> None:
            nonlocal there
            there += gained
            if on_progress:
                on_progress(there, total)

        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        return [download(self._transport, artifact, folder, on_bytes) for artifact in artifacts]

    def _select(self, names: Collection[str] | None) -> list[Artifact]:
        artifacts = self.artifacts()
        known = [artifact.name for artifact in artifacts]
        if names is None:
            return artifacts
        for name in names:
            if name not in known:
                raise UnexpectedAnswerError(f"Job {self.id} has no file {name!r}.", hint=f"It has: {', '.join(known)}.")
        return [artifact for artifact in artifacts if artifact.name in names]


def _from(event_id: int | None) -> dict[str, str]:
    """The header that asks for what followed an event; None: from the beginning."""
    return {} if event_id is None else {"Last-Event-ID": str(event_id)}

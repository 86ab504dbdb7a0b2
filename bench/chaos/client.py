"""The client: it submits jobs over REST and keeps a log of its own of what the service has acknowledged."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_THREADS = 4
_PAUSE_SECONDS = 0.2  # before a request is sent again
_PATIENCE_SECONDS = 90.0
_TIMEOUT = httpx.Timeout(10.0)


class Log:
    """An append-only file of acknowledgements: written through before the next request is made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, **entry: Any) -> None:
        with self._lock:
            self._file.write(json.dumps({"at": time.time(), **entry}) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """All that was acknowledged."""
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def close(self) -> None:
        self._file.close()


class Client:
    """REST by hand, so that nothing of `octet.client` can hide a fault; safe to share between threads."""

    def __init__(self, url: str, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=f"{url}/v1/", headers=headers, timeout=_TIMEOUT, trust_env=False)
        self.internal_errors = 0
        self.stopped = threading.Event()

    def persist(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request until it has an answer that is not "later".

        Raises:
            NotServedError: If that takes longer than any fault lasts.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        said = ""
        while time.monotonic() < deadline:
            try:
                response = self.http.request(method, path, **request)
            except _UNANSWERED as error:
                said = str(error)
            else:
                if not _later(response):
                    return response
                said = f"{response.status_code} {response.text}"
                self.internal_errors += response.status_code == httpx.codes.INTERNAL_SERVER_ERROR
            if self.stopped.wait(_PAUSE_SECONDS):
                raise StoppedError
        raise NotServedError(f"{method} {path} was not answered within {_PATIENCE_SECONDS:g} s; at last: {said}")

    def upload(self, path: Path) -> str:
        """Upload a model until the service has it, and give its id."""
        content = path.read_bytes()
        response = self.persist(
            "POST", "models", params={"name": path.name}, content=content, timeout=60.0, headers=_BINARY
        )
        assert response.is_success, response.text
        return str(response.json()["id"])

    def submit(self, log: Log, *, name: str, **body: Any) -> UUID:
        """Submit a job until a 202 has been read, under one idempotency key, and note it."""
        key = str(uuid4())
        response = self.persist("POST", "jobs", json={"name": name, **body}, headers={"Idempotency-Key": key})
        assert response.is_success, response.text  # 202, or 200 if an answer was lost and the job has ended since
        job = response.json()["id"]
        log.write(job=job, name=name, key=key)
        return UUID(job)

    def wrong_artifacts(self, job_ids: list[UUID]) -> int:
        """How many artifacts of these jobs do not have the bytes that their entry promises; each content once."""
        seen: dict[str, bool] = {}

        def check(job_id: UUID) -> int:
            wrong = 0
            for entry in self.persist("GET", f"jobs/{job_id}/artifacts").json():
                promised = entry["sha256"]
                if promised not in seen:
                    content = self.persist("GET", f"artifacts/{entry['id']}/content", headers=_PLAIN).content
                    seen[promised] = sha256(content).hexdigest() == promised and len(content) == entry["size"]
                wrong += not seen[promised]
            return wrong

        with ThreadPoolExecutor(_THREADS) as pool:
            return sum(pool.map(check, job_ids))

    def close(self) -> None:
        self.stopped.set()
        self.http.close()


_UNANSWERED = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.TimeoutException)
_BINARY = {"Content-Type": "application/octet-stream"}
_PLAIN = {"Accept-Encoding": "identity"}


def _later(response: httpx.Response) -> bool:
    """Whether the same request should be sent again."""
    return response.is_server_error or (response.status_code in {409, 429} and "Retry-After" in response.headers)


class NotServedError(Exception):
    """A request that was sent again and again had no answer."""


class StoppedError(Exception):
    """The bench ends while a request was being repeated."""


class Submission:
    """Things that are submitted in the background, a few at a time and so many per second at most.

    Args:
        submit: Submits the thing of that number, and comes back once it is acknowledged.
        count: How many.
        rate: Per second.
    """

    def __init__(self, submit: Callable[[int], object], count: int, rate: float, *, threads: int = _THREADS) -> None:
        self.acknowledged = 0
        self._submit, self._count, self._rate = submit, count, rate
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until all are acknowledged.

        Raises:
            Exception: What one of them raised.
        """
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _run(self) -> None:
        try:
            while (number := next(self._numbers)) < self._count:
                time.sleep(max(0.0, self._started + number / self._rate - time.monotonic()))
                self._submit(number)
                with self._lock:
                    self.acknowledged += 1
        except StoppedError:
            pass
        except Exception as error:  # noqa: BLE001 - told by `join`
            self._errors.append(error)

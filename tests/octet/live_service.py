"""The app under uvicorn, and a bad network between it and its clients."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import uvicorn

from api.app import create_app
from store import jobs, keys, leases
from store.tables import FIRST_OWNER

if TYPE_CHECKING:
    from pathlib import Path

    from octet.report import Report
    from store.database import Database
    from store.settings import Settings

WORKER = "00000000-0000-4000-8000-000000000001"


class LiveService:
    """The app on a port of this machine, which can be stopped and started again."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database
        with database.begin() as session:
            _, self.key = keys.create(session, "tests")
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(create_app(self.settings), port=self.port, log_config=None, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.005)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def work(self, job: UUID) -> int:
        """Claim a job as a worker does; its attempt."""
        with self.database.begin() as session:
            claimed = leases.claim(session, job, WORKER, lease_seconds=60)
            assert claimed is not None
            return claimed.attempt

    def succeed(self, job: UUID, report: Report, *files: Path) -> None:
        attempt = self.work(job)
        artifacts = [(path.name, "application/octet-stream", path) for path in files]
        with self.database.begin() as session:
            assert leases.succeed(session, job, attempt, report, artifacts)

    def fail(self, job: UUID, error: dict[str, str]) -> None:
        attempt = self.work(job)
        with self.database.begin() as session:
            assert leases.fail(session, job, attempt, error)

    def count_jobs(self) -> int:
        with self.database.begin() as session:
            return len(jobs.list_page(session, owner_id=UUID(FIRST_OWNER), status=None, limit=100, after=None).rows)


class Relay:
    """Stands between a client and the service, and resets connections.

    Attributes:
        limits: Each entry is how many bytes of answers the next connection lets through before that happens.
        request_limits: The same for requests; the connection that is cut is the first to carry so much.
        carried: Bytes of requests that went through.
    """

    def __init__(self, port: int) -> None:
        self.limits: deque[int] = deque()
        self.request_limits: deque[int] = deque()
        self.carried = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                limit = self.limits.popleft() if self.limits else None
                threading.Thread(target=self._pump_requests, args=(client, server), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, limit), daemon=True).start()

    def _pump_requests(self, client: socket.socket, server: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := client.recv(65536):
                if self.request_limits and passed + len(data) > self.request_limits[0]:
                    self.request_limits.popleft()
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                server.sendall(data)
                passed += len(data)
                self.carried += len(data)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536 if limit is None else min(65536, max(limit - passed, 1))):
                passed += len(data)
                if limit is not None and passed > limit:
                    sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

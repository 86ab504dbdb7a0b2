"""Plain Celery beside Octet, on the same Postgres and the same Redis: `chaos.celery_app` says how it is set up."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import redis
from celery import Celery

from chaos.client import Client, Submission
from chaos.processes import POLL_SECONDS, Process
from chaos.servers import free_port

if TYPE_CHECKING:
    import psutil

    from chaos.bed import Bed

APPS = ("late", "early")
_WORKERS = 2
_BENCH = Path(__file__).resolve().parents[1]
_TABLES = """
CREATE TABLE IF NOT EXISTS peer_jobs (id uuid PRIMARY KEY, peer text, batch text, number int);
CREATE TABLE IF NOT EXISTS peer_artifacts (id serial PRIMARY KEY, job uuid);
"""
_DONE = """
SELECT job.id, number, count(artifact.id) FROM peer_jobs job LEFT JOIN peer_artifacts artifact ON artifact.job = job.id
WHERE peer = %s AND batch = %s GROUP BY job.id
"""
# A task lasts 0.2 s, and a message that was taken and lost comes back a second after the visibility timeout of 15 s:
# what has not moved for longer than that does not move any more.
_EMPTY_SECONDS = 4.0
_QUIET_SECONDS = 22.0


@dataclass(frozen=True)
class PeerTally:
    """What became of the jobs that a peer acknowledged.

    Attributes:
        lost: Never done, and nothing is left that would do them.
        twice: Done more than once.
        stuck: Not done, and their message is still somewhere: they wait for somebody.
        unfinished: Not done yet when the fault struck, of those that it had been sent.
    """

    acknowledged: int
    lost: int
    twice: int
    stuck: int
    unfinished: int


class Peer:
    """A service on plain Celery: an API and two prefork workers of one process each, started by `start`."""

    def __init__(self, name: str, bed: Bed) -> None:
        self.name = name
        self._bed = bed
        self.queue_url = f"{bed.redis_url}/{APPS.index(name) + 1}"
        environment = {
            "PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin",
            "PYTHONPATH": str(_BENCH),
            "PEER": name,
            "PEER_DATABASE_URL": bed.database_url,
            "PEER_REDIS_URL": self.queue_url,
        }
        with psycopg.connect(bed.database_url) as connection:
            connection.execute(_TABLES)
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        self.client = Client(self._url)
        serve = ["uvicorn", "chaos.celery_app:api", "--port", str(port), "--log-level", "warning"]
        self.api = self._process(f"{name}-api", serve, environment)
        work = ["celery", "-A", "chaos.celery_app", "worker", "-c", "1", "-l", "WARNING", "-n"]
        self.workers = [
            self._process(f"{name}-{number}", [*work, f"{name}-{number}@%h"], environment) for number in range(_WORKERS)
        ]

    def _process(self, name: str, module: list[str], environment: dict[str, str]) -> Process:
        command = [sys.executable, "-m", *module]
        ready = self._answers if name.endswith("-api") else (lambda: True)
        return self._bed.add(Process(name, command, folder=self._bed.folder, environment=environment, ready=ready))

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self._url}/v1/health/live", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def start(self) -> None:
        """Start it in the background; the bed ends it."""
        for process in (self.api, *self.workers):
            process.start(wait=False)

    def submit(self, batch: str, numbers: range, rate: float) -> Submission:
        """Have jobs of these numbers done, submitted in the background."""

        def one(at: int) -> None:
            self.client.persist("POST", "jobs", params={"batch": batch, "number": numbers[at]})

        return Submission(one, len(numbers), rate)

    def busy_children(self) -> list[psutil.Process]:
        """The prefork processes, which do the tasks."""
        return [child for worker in self.workers for child in worker.tree()[1:]]

    def done(self, batch: str, *, by_row: bool = False) -> Counter[Any]:
        """How often each job was done, by its number, which the client gave it, or row by row."""
        done: Counter[Any] = Counter()
        with psycopg.connect(self._bed.database_url) as connection:
            for row, number, times in connection.execute(_DONE, [self.name, batch]):
                done[row if by_row else number] += times
        return done

    def unfinished(self, batch: str) -> int:
        """How many jobs it has taken and not done yet."""
        return sum(not times for times in self.done(batch, by_row=True).values())

    def settle(self, batch: str, numbers: range, *, by_row: bool, unfinished: int) -> PeerTally:
        """Wait until everything is done, or nothing moves any more; then count.

        Args:
            batch: The jobs' batch.
            numbers: Of the jobs that were acknowledged.
            by_row: Count every row that was committed, acknowledged or not.
            unfinished: For the tally.
        """
        moved, before = time.monotonic(), (-1, -1)
        while True:
            done = self.done(batch, by_row=by_row)
            now = done.total(), (waiting := self._waiting())
            if now != before:
                moved, before = time.monotonic(), now
            if time.monotonic() - moved > (_QUIET_SECONDS if waiting else _EMPTY_SECONDS):
                break
            time.sleep(10 * POLL_SECONDS)
        promised = list(done) if by_row else numbers
        twice = sum(done[each] > 1 for each in promised)
        missing = sum(not done[each] for each in promised)
        lost, stuck = (0, missing) if waiting else (missing, 0)
        return PeerTally(len(promised), lost, twice, stuck, unfinished)

    def _waiting(self) -> int:
        """Messages that wait in Redis, or were taken and not acknowledged."""
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self.queue_url) as broker:
            return int(broker.llen(self.name)) + int(broker.hlen("unacked"))
        return 0

    def resend(self, batch: str, jobs: int, times: int) -> None:
        """Deliver the messages of some jobs of a batch so many times more."""
        with psycopg.connect(self._bed.database_url) as connection:
            query = "SELECT id FROM peer_jobs WHERE peer = %s AND batch = %s LIMIT %s"
            ids = [str(job) for (job,) in connection.execute(query, [self.name, batch, jobs])]
        with Celery(broker=self.queue_url, set_as_current=False) as app:
            for job in ids * times:
                app.send_task("quantize", args=[job], queue=self.name)

"""How many jobs a second go through the queue, against plain Celery on the same Redis with as many processes.

    .venv/bin/python bench/throughput.py [--jobs 60] [--rounds 3]

From the first submission to the last end, by a warm worker with two slots and one CPU thread for each. In Octet:

- `no-op`: static with no data, put straight into Postgres, for the API would refuse it. It is claimed, its model is
  fetched, a process is forked and confined for it and says that it cannot be done, and that is recorded.
- `smallest job`: one linear layer, dynamic, timed for 10 ms: read, quantized, timed, saved, loaded again and compared
  in another process, stored with its report. Put straight into Postgres, and separately submitted over REST.

In plain Celery, with its usual pool of processes, early acknowledgement and no results; the tasks count themselves:

- `no-op`: a task that does nothing.
- `no-op in a process of its own`: one that starts a Python that does nothing, which is the least that keeps a task from
  the next one.
- `smallest job`: the same model quantized by the library and saved to a folder, in a process of the pool.

Each way takes its turn in every round. The ratios are Octet's to Celery's. The bound: the smallest job through Octet's
queue, with its own process, leases and storage, at half the speed of the same work in plain Celery or more.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import redis
import torch
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from stack import running_service

import octet
from octet.wire import FINISHED
from server.embedded import EmbeddedPostgres, EmbeddedRedis
from store import jobs
from store.database import Database
from store.hints import Hints
from store.tables import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from octet.client import Client

SLOTS = 2
LEAST_RATIO = 0.5
SMALLEST = octet.Recipe.parse({"method": "dynamic", "measure": {"seconds": 0.01, "threads": 1, "layers": False}})
IMPOSSIBLE = octet.Recipe.parse({"method": "static"})  # it needs data, and gets none


class Octet:
    """Jobs for the service, and waiting for their end."""

    def __init__(self, client: Client, database: Database, hints: Hints, model: Path) -> None:
        self._client = client
        self._database = database
        self._hints = hints
        self._model = client.upload_model(model).id
        first = client.submit(self._model, SMALLEST).wait()
        assert first.state == "succeeded", first.error
        with database.begin() as session:
            self._like = session.get_one(Job, first.id)

    def over_rest(self, count: int) -> None:
        """Submit the smallest job so many times."""
        self._until_ended([self._client.submit(self._model, SMALLEST).id for _ in range(count)], "succeeded")

    def straight(self, recipe: octet.Recipe, count: int, end: str) -> None:
        """Put a job into Postgres so many times, with its hint; all must end like that."""
        made = []
        for _ in range(count):
            with self._database.begin() as session:
                job, _ = jobs.create(session, **self._values(recipe))
            self._hints.publish(job.id)
            made.append(job.id)
        self._until_ended(made, end)

    def _values(self, recipe: octet.Recipe) -> dict[str, Any]:
        same = {name: getattr(self._like, name) for name in ("owner_id", "model_id", "key_id", "request_sha256")}
        none = dict.fromkeys(("calibration_id", "evaluation_id", "name", "idempotency_key"))
        return {**same, **none, "recipe": recipe.model_dump(mode="json")}

    def _until_ended(self, ids: list[UUID], end: str) -> None:
        while True:
            with self._database.begin() as session:
                query = select(Job.state, func.count()).where(Job.id.in_(ids), Job.state.in_(FINISHED))
                ended = dict(session.execute(query.group_by(Job.state)).all())
            if sum(ended.values()) == len(ids):
                assert ended == {end: len(ids)}, ended
                return
            time.sleep(0.01)


class PlainCelery:
    """Tasks for a plain worker, and waiting for their end."""

    def __init__(self, counter: redis.Redis) -> None:
        import throughput_tasks  # noqa: PLC0415 - it reads the environment that `celery_worker` has set

        self.tasks = throughput_tasks
        self._counter = counter

    def run(self, task: Any, count: int, *arguments: str) -> None:
        """Send a task so many times, and wait until all are done."""
        self._counter.set("done", 0)
        for _ in range(count):
            task.delay(*arguments)
        while int(self._counter.get("done") or 0) < count:
            time.sleep(0.01)


@contextmanager
def celery_worker(url: str, model: Path) -> Iterator[PlainCelery]:
    """A plain Celery worker with as many processes, all warm."""
    os.environ.update(OCTET_REDIS_URL=url, MODEL=str(model), RECIPE=SMALLEST.canonical())
    command = [sys.executable, "-m", "celery", "-A", "throughput_tasks", "worker", "-c", str(SLOTS), "-l", "error"]
    worker = subprocess.Popen(
        command, cwd=Path(__file__).parent, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL
    )
    counter = redis.Redis.from_url(url)
    try:
        while int(counter.get("warm") or 0) < SLOTS:
            assert worker.poll() is None
            time.sleep(0.1)
        yield PlainCelery(counter)
    finally:
        worker.terminate()
        worker.wait()


def rates(ways: dict[str, tuple[int, Callable[[int], None]]], rounds: int) -> dict[str, list[float]]:
    """What each way does in a second, in every round."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (count, run) in ways.items():
            start = time.perf_counter()
            run(count)
            found[way].append(count / (time.perf_counter() - start))
    return found


def main() -> None:
    """Print the table; exit 1 if the bound does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="octet-bench-") as folder,
        EmbeddedPostgres(Path(folder)) as postgres,
        EmbeddedRedis(Path(folder)) as broker,
    ):
        path = octet.export(torch.nn.Linear(4, 4), torch.randn(2, 4), Path(folder, "model.pt2"))
        urls = {"OCTET_DATABASE_URL": postgres.url, "OCTET_REDIS_URL": broker.url}
        with (
            running_service(OCTET_WORKER_SLOTS=str(SLOTS), OCTET_JOB_THREADS="1", **urls) as (client, _),
            celery_worker(broker.url, path) as celery,
        ):
            database, hints = Database(postgres.url), Hints(broker.url)
            service, tasks = Octet(client, database, hints, path), celery.tasks
            found = rates(
                {
                    "Octet no-op": (asked.jobs, lambda n: service.straight(IMPOSSIBLE, n, "failed")),
                    "Octet smallest job": (asked.jobs, lambda n: service.straight(SMALLEST, n, "succeeded")),
                    "Octet smallest job over REST": (asked.jobs, service.over_rest),
                    "Celery no-op": (50 * asked.jobs, lambda n: celery.run(tasks.no_op, n)),
                    "Celery no-op in a process of its own": (
                        5 * asked.jobs,
                        lambda n: celery.run(tasks.fresh_process, n),
                    ),
                    "Celery smallest job": (
                        asked.jobs,
                        lambda n: celery.run(tasks.quantize, n, str(path), SMALLEST.canonical()),
                    ),
                },
                asked.rounds,
            )
            hints.close()
            database.close()
    raise SystemExit(not report(found))


# What is compared with what.
PAIRS = (
    ("Octet no-op", "Celery no-op"),
    ("Octet no-op", "Celery no-op in a process of its own"),
    ("Octet smallest job", "Celery smallest job"),
    ("Octet smallest job over REST", "Celery smallest job"),
)


def report(found: dict[str, list[float]]) -> bool:
    """Print the tables; whether the bound holds."""
    table = Table("", "a second, median", "all")
    for way, every in found.items():
        table.add_row(way, f"{median(every):.1f}", ", ".join(f"{rate:.1f}" for rate in every))
    ratios = {pair: median(a / b for a, b in zip(found[pair[0]], found[pair[1]], strict=True)) for pair in PAIRS}
    compared = Table("ratio of", "to", "")
    for (ours, theirs), ratio in ratios.items():
        compared.add_row(ours, theirs, f"{ratio:.3f}")
    console = Console(width=110)
    console.print(table, compared)
    return ratios["Octet smallest job", "Celery smallest job"] >= LEAST_RATIO


if __name__ == "__main__":
    main()

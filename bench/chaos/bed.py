"""The whole service on one machine, as it would be deployed: servers, API and workers are processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
import redis
from sqlalchemy import select

from chaos import peers
from chaos.client import Client
from chaos.disks import tmpfs
from chaos.processes import Process, Supervisor, wait_until
from chaos.servers import free_port, postgres, redis_server
from store.database import UNAVAILABLE, Database
from store.states import HELD
from store.tables import Job, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import psutil

    from store.database import Session

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parents[2]
WORKERS = 2


@dataclass(frozen=True)
class Setup:
    """What is special about the service that a fault needs. Everything else is as it is by default.

    Attributes:
        settings: `OCTET_*` variables, without that prefix.
        postgres_mib: Postgres' data is on a disk of this size.
        scratch_mib: The workers' temporary files are on a disk of this size.
        clocks: Seconds by which the clock of each worker is off.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    postgres_mib: int | None = None
    scratch_mib: int | None = None
    clocks: tuple[int, ...] = (0,) * WORKERS


DEFAULT = Setup()


class Bed:
    """A running service: two workers of one slot, an API, Postgres, Redis, and plain Celery beside it on the latter.

    Attributes:
        url: Of the API.
        client: It has a key.
        processes: Everything that runs, by name.
        disk: Where the small disk is, if there is one.
    """

    def __init__(self, folder: Path, setup: Setup) -> None:
        self.setup = setup
        self.folder = folder
        self.processes: dict[str, Process] = {}
        self.disk: Path | None = None
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _start(self) -> None:
        data, temporary = self.folder / "postgres", self.folder / "tmp"
        if self.setup.postgres_mib is not None:
            self.disk = self._exit.enter_context(tmpfs(self.folder / "disk", self.setup.postgres_mib))
            data = self.disk / "postgres"
        if self.setup.scratch_mib is not None:
            temporary = self.disk = self._exit.enter_context(tmpfs(self.folder / "disk", self.setup.scratch_mib))
        database, self.database_url = postgres(data, self.folder)
        broker, self.redis_url = redis_server(self.folder)
        self.add(database).start()
        self.add(broker).start()
        self.octet("migrate")
        self.database = Database(self.database_url)
        self._exit.callback(self.database.close)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        # The API's uploads wait in a place of their own: the small disk is the workers'.
        self._environment = self._part_environment(port)
        self.add(self.part("api", "api", self.folder / "api-tmp", ready=self._answers))
        for number in range(WORKERS):
            clock = self.setup.clocks[number]
            # A temporary directory of its own, as on a machine of its own: that is where the lock on measuring is.
            self.add(self.part(f"worker-{number}", "worker", temporary / str(number), clock=clock))
        self.peers: list[peers.Peer] = []
        for process in self.processes.values():
            process.start(wait=False)
        supervisor = Supervisor(self.processes)
        supervisor.start()
        self._exit.callback(supervisor.stop)
        self._exit.callback(self._ask_to_stop)
        self.client = Client(self.url, self.octet("keys", "create", "bench").split()[-1])  # while the others load
        self._exit.callback(self.client.close)
        self.wait_ready()

    def _ask_to_stop(self) -> None:
        """All at once, since a worker may take as long as its grace period; the servers are stopped after them."""
        for process in self.processes.values():
            if process not in {self.postgres, self.redis}:
                process.ask_to_stop()

    def start_peers(self) -> None:
        """Start plain Celery beside it, unless it runs."""
        if not self.peers:
            self.peers = [peers.Peer(name, self) for name in peers.APPS]
            for peer in self.peers:
                peer.start()

    def wait_ready(self) -> None:
        """Return once everything runs, and both workers wait for a job."""
        for process in self.processes.values():
            process.wait_ready()
        wait_until(self._workers_ready, "both workers are on the list, with their engines")

    def part(
        self,
        name: str,
        command: str,
        temporary: Path,
        *,
        checkout: Path = CHECKOUT,
        clock: int = 0,
        ready: Callable[[], bool] = lambda: True,
    ) -> Process:
        """An `octet-server` command in a process of its own."""
        temporary.mkdir(parents=True, exist_ok=True)
        environment = {**self._environment, "TMPDIR": str(temporary), "PYTHONPATH": str(checkout)}
        if clock:
            environment |= _clock_off(clock)
        return Process(
            name,
            [sys.executable, "-P", "-m", "server", command, "--with-parent"],
            folder=self.folder,
            environment=environment,
            ready=ready,
            with_parent=True,
        )

    def add(self, process: Process) -> Process:
        """Have a process kept up from its start on, and ended with the rest."""
        self.processes[process.name] = process
        self._exit.callback(process.stop)
        return process

    def _part_environment(self, port: int) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("OCTET_")},
            "OCTET_DATABASE_URL": self.database_url,
            "OCTET_REDIS_URL": self.redis_url,
            "OCTET_PORT": str(port),
            "OCTET_JOB_THREADS": "1",  # two workers on this machine's two cores
            **{f"OCTET_{name}": value for name, value in self.setup.settings.items()},
        }

    def octet(self, *command: str, checkout: Path = CHECKOUT) -> str:
        """What an `octet-server` command says."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "server", *command],
            env={**os.environ, "OCTET_DATABASE_URL": self.database_url, "PYTHONPATH": str(checkout)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v1/health/live", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _workers_ready(self) -> bool:
        pids = {worker.pid for worker in self.workers}
        return pids <= set(self.ask(lambda session: session.scalars(select(Worker.pid).where(_HAS_ENGINES)).all()))

    @property
    def workers(self) -> list[Process]:
        return [process for name, process in self.processes.items() if name.startswith("worker-")]

    @property
    def postgres(self) -> Process:
        return self.processes["postgres"]

    @property
    def redis(self) -> Process:
        return self.processes["redis"]

    @property
    def api(self) -> Process:
        return self.processes["api"]

    def ask(self, question: Callable[[Session], T]) -> T:
        """The answer of Postgres; while it is away, it is waited for."""
        answers: list[T] = []

        def asked() -> bool:
            try:
                with self.database.begin() as session:
                    answers.append(question(session))
            except UNAVAILABLE:
                return False
            return True

        wait_until(asked, "Postgres answers")
        return answers[0]

    def held_by(self, worker: Process) -> list[Job]:
        """The jobs that a worker holds now."""
        row = select(Worker.id).where(Worker.pid == worker.pid).scalar_subquery()
        jobs = select(Job).where(Job.worker_id == row, Job.state.in_(HELD))
        return self.ask(lambda session: list(session.scalars(jobs)))

    @contextmanager
    def broker(self) -> Iterator[redis.Redis]:
        """A connection to Redis."""
        with redis.Redis.from_url(self.redis_url) as connection:
            yield connection


def _clock_off(seconds: int) -> dict[str, str]:
    """What makes a process see another time of day; what `time.monotonic` says stays as it is."""
    library = subprocess.run(
        ["faketime", "-m", "now", "printenv", "LD_PRELOAD"], check=True, stdout=subprocess.PIPE, text=True
    )
    return {
        "LD_PRELOAD": library.stdout.strip(),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


_HAS_ENGINES: Any = Worker.engines != []


def job_processes(worker: Process) -> list[psutil.Process]:
    """The processes under a worker that do its job: those that have a model in their scratch directory."""
    return [process for process in worker.tree()[1:] if _has_model(process)]


def _has_model(process: psutil.Process) -> bool:
    try:
        return Path(f"/proc/{process.pid}/cwd/model.pt2").exists()
    except OSError:
        return False

"""`octet-server up`, from start to stop, as people use it."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

import psutil
import pytest
import torch

import octet
from octet.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKOUT = Path(__file__).parents[2]
# So that a worker that was killed is missed within seconds.
QUICK = {
    "OCTET_LEASE_SECONDS": "3",
    "OCTET_RECONCILE_SECONDS": "0.5",
    "OCTET_HEARTBEAT_SECONDS": "0.2",
    "OCTET_GRACE_SECONDS": "30",
}
# As behind a company's proxy, which knows nothing of this machine.
PROXIED = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
LONGER = octet.Recipe.parse(
    {"method": "dynamic", "measure": {"seconds": 1, "layers": False, "batch_sizes": list(range(4089, 4097))}},
)

T = TypeVar("T")


class Up:
    """A running `octet-server up`."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        own = {name: value for name, value in os.environ.items() if not name.startswith("OCTET_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server", "up", "--data-dir", str(data_dir), *options],
            cwd=CHECKOUT,
            # Its own temporary directory: its jobs wait for no one else on this machine to measure.
            env={**own, **QUICK, **PROXIED, "TMPDIR": str(data_dir.parent), "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""

    def until_ready(self) -> None:
        self.until_it_says("Ctrl-C")

    def until_it_says(self, word: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if word in line:
                return
        pytest.fail(f"it stopped instead:\n{self.said}")

    @property
    def client(self) -> Client:
        found = re.search(r"http://\S+", self.said)
        assert found is not None
        return Client(found[0], (self.data_dir / "api-key").read_text().strip())

    def processes(self) -> list[psutil.Process]:
        """Everything that it started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        self.said += self.process.communicate(timeout=60)[0]
        return self.process.returncode


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not pytest's: Postgres, which does not run as root, has to get through to it.
    with TemporaryDirectory(prefix="octet-up-") as directory:
        yield Path(directory, "data[bold]")  # which is no markup


@pytest.fixture
def start(data_dir: Path) -> Iterator[Callable[..., Up]]:
    """Starts the service on a free port."""
    started: list[Up] = []

    def begin(*options: str) -> Up:
        started.append(Up(data_dir, *(options or ("--port", "0"))))
        return started[-1]

    yield begin
    for up in started:
        if up.process.poll() is None:
            up.stop()
        assert up.process.stdout is not None
        up.process.stdout.close()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt2"
    octet.export(torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU()), (torch.randn(2, 16),), path)
    return path


def wait_until(condition: Callable[[], T], seconds: float = 60.0) -> T:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return value


def health(client: Client) -> str:
    try:
        return client.health().status
    except octet.OctetError:  # it says that the database is away, or cannot say it in time
        return "away"


def none_lives(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_a_job_that_runs_when_the_service_stops_is_finished_after_the_next_start(
    start: Callable[..., Up], model: Path, data_dir: Path
) -> None:
    first = start()
    first.until_ready()
    key = (data_dir / "api-key").read_text().strip()
    assert key in first.said
    assert stat.S_IMODE((data_dir / "api-key").stat().st_mode) == 0o600
    with first.client as client:
        job = client.submit(client.upload_model(model), LONGER)
        wait_until(lambda: client.job(job.id).refresh().stage == "measure")
    processes = first.processes()
    assert len(processes) >= 5  # Postgres, Redis, API, worker, child

    first.process.send_signal(signal.SIGINT)
    first.until_it_says("Stopping")
    assert first.stop() == 0  # the second Ctrl-C: it does not wait for the job
    assert none_lives(processes)
    assert not (data_dir / "database-url").exists()

    second = start()
    second.until_ready()
    assert key not in second.said
    assert f"in {data_dir / 'api-key'}" in second.said
    with second.client as client:
        assert client.job(job.id).wait().state == "succeeded"
        assert client.job(job.id).refresh().attempt == 2


def test_a_part_that_dies_is_started_again_as_soon_as_it_can_be(start: Callable[..., Up]) -> None:
    up = start()
    up.until_ready()
    with up.client as client:
        (old,) = client.workers()
        logs = (up.data_dir / "logs").rename(up.data_dir / "logs elsewhere")
        psutil.Process(old.pid).kill()
        up.until_it_says("could not be started again yet")
        logs.rename(up.data_dir / "logs")
        wait_until(lambda: any(worker.id != old.id for worker in client.workers()))
    assert up.stop(signal.SIGTERM) == 0


def test_parts_are_waited_for_though_nobody_reads_what_is_said(start: Callable[..., Up]) -> None:
    up = start()
    up.until_ready()
    parts = up.processes()
    assert up.process.stdout is not None
    up.process.stdout.close()  # as with `octet-server up | tee log`, where Ctrl-C ends both
    up.process.send_signal(signal.SIGINT)
    up.process.wait(60)
    assert none_lives(parts)
    assert '"worker stopped"' in (up.data_dir / "logs" / "worker.log").read_text()


def test_a_worker_that_dies_again_and_again_is_started_again_and_again(start: Callable[..., Up]) -> None:
    up = start()
    up.until_ready()
    with up.client as client:
        for _ in range(5):  # more often than it may before the service was ready
            (old,) = wait_until(client.workers)
            psutil.Process(old.pid).kill()
            wait_until(lambda old=old: [worker for worker in client.workers() if worker.id != old.id][:1])
            wait_until(lambda: len(client.workers()) == 1)


def test_postgres_and_redis_are_started_again_and_jobs_go_on(start: Callable[..., Up], model: Path) -> None:
    up = start()
    up.until_ready()
    with up.client as client:
        uploaded = client.upload_model(model)
        running = client.submit(uploaded, LONGER)
        wait_until(lambda: client.job(running.id).refresh().stage == "measure")
        for server in ("redis.pid", "postmaster.pid"):
            (pid_file,) = up.data_dir.glob(f"*/{server}")
            dead = psutil.Process(int(pid_file.read_text().split()[0]))
            dead.kill()
            wait_until(lambda dead=dead: not dead.is_running())
        wait_until(lambda: health(client) == "ok")
        assert client.job(running.id).wait().state == "succeeded"
        assert client.submit(uploaded, LONGER).wait().state == "succeeded"
    processes = up.processes()
    assert up.stop() == 0
    assert none_lives(processes)


def test_nothing_outlives_a_killed_up(start: Callable[..., Up]) -> None:
    up = start()
    up.until_ready()
    processes = up.processes()
    up.process.kill()
    wait_until(lambda: none_lives(processes))


def test_a_second_up_on_the_same_data_is_refused(start: Callable[..., Up], data_dir: Path) -> None:
    first = start()
    first.until_ready()
    second = start()
    output = second.process.communicate(timeout=60)[0]
    assert second.process.returncode == 1
    assert f"error: The data directory {data_dir} is in use by process {first.process.pid}." in output
    with first.client as client:
        assert client.health().status == "ok"


def test_a_port_that_is_taken_is_refused_before_anything_starts(start: Callable[..., Up], data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = start("--port", str(port))
        output = up.process.communicate(timeout=60)[0]
    assert up.process.returncode == 1
    assert f"error: The service cannot listen on 127.0.0.1, port {port}: Address already in use." in output
    assert not (data_dir / "postgres").exists()


@pytest.mark.parametrize(
    ("options", "variable", "sentence"),
    [
        (["--host", "nowhere.invalid"], {}, "error: The service cannot listen on nowhere.invalid, port 8000: "),
        (["--data-dir", __file__], {}, f"error: [Errno 20] Not a directory: '{__file__}/logs'"),
        ([], {"OCTET_WEBHOOK_NETWORKS": "10.0.0.0/8"}, "error: The environment does not fit: "),
        ([], {"OCTET_MAX_ATTEMPTS": "few"}, "error: The environment does not fit: OCTET_MAX_ATTEMPTS: "),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    data_dir: Path, options: list[str], variable: dict[str, str], sentence: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server", "up", "--data-dir", str(data_dir), *options],
        cwd=CHECKOUT,
        env={**os.environ, **variable},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert "Traceback" not in done.stderr

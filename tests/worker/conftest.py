"""A small model, a place to submit jobs, and real workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import torch
from working import Desk, WorkerProcess

import octet
from store.settings import Settings
from worker.alarm import Alarm
from worker.runner import Runner
from worker.spares import Spares
from worker.warmth import WarmProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from store.database import Database
    from worker.process import Child


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `.pt2` of a model with one layer of 16 inputs and 64 outputs."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.pt2"
    octet.export(torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU()), (torch.randn(2, 16),), path)
    return path


@pytest.fixture
def desk(database: Database, settings: Settings) -> Iterator[Desk]:
    desk = Desk(database, settings)
    yield desk
    desk.hints.close()


@pytest.fixture
def start_worker(settings: Settings, database: Database, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts a worker of this test's own."""
    del database  # only so that the tables are there
    started: list[WorkerProcess] = []

    def start(**overrides: Any) -> WorkerProcess:
        started.append(WorkerProcess(settings, tmp_path / f"worker-{len(started)}.log", **overrides))
        return started[-1]

    yield start
    for worker in started:
        worker.stop()


@pytest.fixture
def runner_with(database: Database, settings: Settings) -> Iterator[Callable[..., Runner]]:
    """Makes a runner with one slot and settings of the test's own."""
    made: list[tuple[Runner, Spares]] = []

    def make(**overrides: Any) -> Runner:
        mine = settings.model_copy(update={"heartbeat_seconds": 0.1, "max_attempts": 1, **overrides})
        spares = Spares(mine)
        made.append((Runner(database, mine, spares, uuid4()), spares))
        return made[-1][0]

    yield make
    for runner, spares in made:
        runner.stop()
        runner.join()
        spares.close()


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmProcess]:
    """A warm process with nothing to do."""
    warm = WarmProcess(Settings(database_url="postgresql://", redis_url="redis://"))
    alarm = Alarm()
    assert warm.until_warm(alarm)
    yield warm
    warm.close()
    alarm.close()


@pytest.fixture
def child(warm: WarmProcess) -> Iterator[Child]:
    """A process that waits for its assignment."""
    child = warm.fork()
    yield child
    child.close()

"""A small model, a place to submit jobs, and real workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import torch
from working import Desk, WorkerProcess

import octet
from worker.limits import threads
from worker.runner import Runner
from worker.spares import Spares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from store.database import Database
    from store.settings import Settings


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

    def start(**overrides: str) -> WorkerProcess:
        started.append(WorkerProcess(settings, tmp_path / f"worker-{len(started)}.log", **overrides))
        return started[-1]

    yield start
    for worker in started:
        worker.stop()


@pytest.fixture
def runner_with(database: Database, settings: Settings) -> Iterator[Callable[..., Runner]]:
    """Makes a runner with one slot and settings of the test's own."""
    made: list[Spares] = []

    def make(**overrides: Any) -> Runner:
        mine = settings.model_copy(update={"heartbeat_seconds": 0.1, "max_attempts": 1, **overrides})
        made.append(Spares(1, threads=threads(mine)))
        return Runner(database, mine, made[-1], uuid4())

    yield make
    for spares in made:
        spares.close()

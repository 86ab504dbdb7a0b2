"""A small model, a place to submit jobs, and real workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from working import Desk, WorkerProcess

import octet

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

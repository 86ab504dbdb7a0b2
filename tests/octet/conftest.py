"""A real service for its clients: the app under uvicorn, on the tests' Postgres and Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import octet
from octet.client import Client
from octet.recipe import Recipe
from octet.report import (
    Accuracy,
    EngineFacts,
    Fidelity,
    GateResult,
    Latency,
    LayerFacts,
    MachineFacts,
    ModelFacts,
    Report,
    Size,
    Timing,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from live_service import LiveService, Relay

    from store.database import Database
    from store.settings import Settings


# torch gives some of its warnings once in a process: then the order of the tests would decide which of them meets one.
torch.set_warn_always(True)


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    """The models here are too small for two threads: one that waits for work spins, which takes the time of a core."""
    torch.set_num_threads(1)


@pytest.fixture
def service(settings: Settings, database: Database) -> Iterator[LiveService]:
    from live_service import LiveService  # noqa: PLC0415 - tests of the library do without the app

    live = LiveService(settings, database)
    yield live
    live.stop()


@pytest.fixture
def client(service: LiveService) -> Iterator[Client]:
    with Client(service.url, service.key) as client:
        yield client


@pytest.fixture
def relay(service: LiveService) -> Iterator[Relay]:
    from live_service import Relay  # noqa: PLC0415 - as above

    relay = Relay(service.port)
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of four numbers."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
    path = tmp_path_factory.mktemp("model") / "tiny.pt2"
    octet.export(model, (torch.randn(2, 4),), path)
    return path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen labelled samples for it."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(path, input_0=random.normal(size=(16, 4)).astype(np.float32), label=random.integers(0, 3, 16))
    return path


@pytest.fixture
def report() -> Report:
    """What a job says of a model that lost two points of accuracy, which is one more than its gate allows."""
    timing = Timing(median=1.0, p90=1.2)
    return Report(
        octet_version="0.1.0",
        model=ModelFacts(sha256="0" * 64, parameters=67, torch_version="2.13.0"),
        recipe=Recipe(method="static"),
        engine=EngineFacts(name="x86", reduce_range=True, cpu_flags=("avx2",), native=True),
        machine=MachineFacts(cpu="a CPU", architecture="x86_64", cores=2, torch_version="2.13.0"),
        latency=(
            Latency(
                batch_size=1,
                threads=2,
                fp32=timing,
                int8=Timing(median=0.5, p90=0.6),
                ratio=2.0,
                ratio_low=1.9,
                ratio_high=2.1,
                rounds=10,
                baseline="scripted, frozen",
                representative=True,
                verdict="faster",
            ),
        ),
        accuracy=Accuracy(metric="accuracy", fp32=0.97, int8=0.95, drop=0.02, samples=100),
        fidelity=Fidelity(sqnr_db=31.44, agreement=0.98, max_abs_error=0.1, source="evaluation", samples=100),
        size=Size(fp32=4000, int8=1000, ratio=4.0),
        layers=(LayerFacts(name="0", type="Linear", method="static", weight_sqnr_db=40.0),),
        gates=(GateResult(gate="max_accuracy_drop", limit=0.01, measured=0.02, passed=False),),
        verdict="fails",
    )

"""A job that runs, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from storing import start

from octet.recipe import Recipe
from octet.report import EngineFacts, Fidelity, LayerFacts, MachineFacts, ModelFacts, Report, Size

if TYPE_CHECKING:
    from store.database import Database
    from store.tables import Job


@pytest.fixture
def running(database: Database) -> Job:
    """A job in its first attempt."""
    with database.begin() as session:
        return start(session)


@pytest.fixture
def report() -> Report:
    return Report(
        octet_version="0.1.0",
        model=ModelFacts(sha256="0" * 64, parameters=10, torch_version="2.13.0"),
        recipe=Recipe(),
        engine=EngineFacts(name="x86", reduce_range=True, cpu_flags=(), native=True),
        machine=MachineFacts(cpu="a CPU", architecture="x86_64", cores=2, torch_version="2.13.0"),
        fidelity=Fidelity(sqnr_db=30.5, agreement=None, max_abs_error=0.1, source="synthetic", samples=8),
        size=Size(fp32=4000, int8=1000, ratio=4.0),
        layers=(
            LayerFacts(
                name="conv",
                type="Conv2d",
                method="static",
                parameters=9,
                bits=8,
                weight_sqnr_db=40.0,
                activation_sqnr_db=30.0,
                own_sqnr_db=35.0,
                input_range=(-1.0, 2.0),
                output_range=(0.0, 3.5),
                saturation=0.01,
                latency_share_fp32=0.75,
                latency_share_int8=0.5,
                rank=1,
            ),
            LayerFacts(name="head", type="Linear", method="float", reason="asked for", parameters=1),
        ),
        verdict="passes",
    )

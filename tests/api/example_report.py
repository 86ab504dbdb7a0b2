"""A report, as a job on the tests' model could give it."""

from __future__ import annotations

from octet.recipe import Recipe
from octet.report import (
    Accuracy,
    DataFacts,
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

REPORT = Report(
    octet_version="0.1.0",
    model=ModelFacts(sha256="0" * 64, parameters=67, torch_version="2.13.0"),
    recipe=Recipe(method="static"),
    engine=EngineFacts(name="x86", reduce_range=True, cpu_flags=("avx2",), native=True),
    machine=MachineFacts(cpu="a CPU", architecture="x86_64", cores=2, torch_version="2.13.0"),
    calibration=DataFacts(source="dataset", samples=16),
    evaluation=DataFacts(source="dataset", samples=360),
    latency=(
        Latency(
            batch_size=1,
            threads=2,
            fp32=Timing(median=1.84, p90=2.01),
            int8=Timing(median=0.62, p90=0.71),
            ratio=2.97,
            ratio_low=2.8,
            ratio_high=3.1,
            rounds=100,
            baseline="scripted, frozen",
            representative=True,
            verdict="faster",
        ),
    ),
    accuracy=Accuracy(metric="accuracy", fp32=0.9722, int8=0.9694, drop=0.0028, samples=360),
    fidelity=Fidelity(sqnr_db=31.4, agreement=0.9944, max_abs_error=0.21, source="evaluation", samples=360),
    size=Size(fp32=426_000, int8=121_000, ratio=3.52),
    layers=(
        LayerFacts(
            name="0", type="Linear", method="static", parameters=40, weight_sqnr_db=40.1, activation_sqnr_db=33.0
        ),
        LayerFacts(name="2", type="Linear", method="float", parameters=27, reason="a rule of the recipe"),
    ),
    gates=(GateResult(gate="max_accuracy_drop", limit=0.01, measured=0.0028, passed=True),),
    verdict="passes",
    warnings=("Calibration and evaluation data are the same: the figures flatter the int8 model.",),
)

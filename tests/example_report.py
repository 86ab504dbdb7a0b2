"""Reports, as jobs of each kind could give them."""

from __future__ import annotations

from octet.recipe import Recipe
from octet.report import (
    Accuracy,
    CurvePoint,
    DataFacts,
    EngineFacts,
    Epoch,
    Fidelity,
    Fusion,
    GateResult,
    Latency,
    LayerFacts,
    LayerSensitivity,
    LoneNorm,
    MachineFacts,
    ModelFacts,
    Repair,
    Report,
    Search,
    Sensitivity,
    SimulatedTensor,
    Size,
    Timing,
    Trial,
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
            name="0",
            type="Linear",
            method="static",
            parameters=40,
            bits=8,
            weight_sqnr_db=40.1,
            activation_sqnr_db=33.0,
            own_sqnr_db=33.0,
            input_range=(-2.81, 3.04),
            output_range=(-1.92, 2.2),
            saturation=0.0013,
            latency_share_fp32=0.42,
            latency_share_int8=0.31,
            rank=2,
        ),
        LayerFacts(
            name="2",
            type="Linear",
            method="static",
            parameters=27,
            bits=8,
            weight_sqnr_db=38.7,
            activation_sqnr_db=29.4,
            own_sqnr_db=31.2,
            input_range=(0.0, 2.2),
            output_range=(-1.1, 1.4),
            saturation=0.0,
            latency_share_fp32=0.35,
            latency_share_int8=0.4,
            rank=1,
        ),
        LayerFacts(name="head", type="Embedding", method="float", parameters=9, reason="a rule of the recipe"),
    ),
    gates=(GateResult(gate="max_accuracy_drop", limit=0.01, measured=0.0028, passed=True),),
    verdict="passes",
    warnings=("Calibration and evaluation data are the same: the figures flatter the int8 model.",),
)


def _trial(
    number: int, what: str, accuracy: float, speedup: float, *, float_layers: int = 0, pareto: bool = False
) -> Trial:
    return Trial(
        number=number,
        what=what,
        recipe=Recipe(),
        float_layers=float_layers,
        accuracy=accuracy,
        accuracy_drop=round(0.9722 - accuracy, 4),
        sqnr_db=10 * accuracy + number,
        latency_ms=1.84 / speedup,
        speedup=speedup,
        within_budget=accuracy >= 0.9672,
        pareto=pareto,
        seconds=2.5,
    )


ANALYZED = REPORT.model_copy(
    update={
        "fusions": (Fusion(name="0", kind="Linear + ReLU", parts=("0", "1")),),
        "lone_norms": (LoneNorm(name="norm", type="BatchNorm2d", reason="its input is added to before it"),),
        "sensitivity": Sensitivity(
            layers=(
                LayerSensitivity(name="2", sqnr_db=30.1, score=0.9694),
                LayerSensitivity(name="0", sqnr_db=None, score=0.9722),
            ),
            curve=(
                CurvePoint(float_layers=0, sqnr_db=29.4, score=0.9694),
                CurvePoint(float_layers=1, sqnr_db=33.8, score=0.9708),
                CurvePoint(float_layers=2, sqnr_db=None, score=0.9722),
            ),
            samples=360,
            passes=5,
        ),
    }
)
"""What `octet analyze` gives."""

_FOUND = _trial(5, "static, mse, 2 layers in float", 0.9680, 2.64, float_layers=2, pareto=True)
SEARCHED = REPORT.model_copy(
    update={
        "recipe": Recipe.parse({"method": "auto", "gates": {"max_accuracy_drop": 0.005}}),
        "search": Search(
            trials=(
                _trial(1, "static", 0.8917, 3.31, pareto=True),
                _trial(2, "dynamic", 0.9722, 1.2, pareto=True),
                _trial(3, "static, mse", 0.9306, 3.28, pareto=True),
                _trial(4, "static, mse, repaired", 0.9306, 3.25),
                _FOUND.model_copy(update={"chosen": True}),
            ),
            layers=21,
            ranking_passes=21,
            met=True,
            stopped_by="no fewer layers in float are inside the budget",
        ),
    }
)
"""Of method auto."""

SIMULATED = REPORT.model_copy(
    update={
        "recipe": Recipe.preset("simulate-4-bit"),
        "latency": (),
        "simulated": tuple(
            SimulatedTensor(layer=f"layers.{place // 2}", kind=kind, bits=bits, relative_error=0.002 * (place + 1))
            for place in range(16)
            for kind, bits in ((("weight", 4), ("activation", 8))[place % 2],)
        ),
    }
)
"""Of method simulate: nothing was timed."""

TRAINED = REPORT.model_copy(
    update={
        "recipe": Recipe.parse({"method": "qat", "repairs": {"equalize": True}}),
        "repairs": (
            Repair(repair="equalize", layers=("0", "2"), summary="Ranges of 8 channels differ by 1.2 instead of 310."),
        ),
        "training": (
            Epoch(number=0, loss=None, validation_loss=0.4312, validation_score=0.91),
            Epoch(
                number=1, loss=0.512, learning_rate=0.0008, validation_loss=0.311, validation_score=0.9702, chosen=True
            ),
            Epoch(number=2, loss=0.4031, learning_rate=0.0, validation_loss=0.3204, validation_score=0.9694),
        ),
    }
)
"""Of method qat."""

"""The report itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from octet.recipe import Recipe
from octet.report.facts import DataFacts, EngineFacts, MachineFacts, ModelFacts
from octet.report.figures import Accuracy, Fidelity, Latency, Size
from octet.report.layers import Fusion, LayerFacts, LoneNorm, Repair, Sensitivity, SimulatedTensor
from octet.report.part import Part
from octet.report.search import Search
from octet.report.training import Epoch


class GateResult(Part):
    """One gate of the recipe, judged."""

    gate: Literal["max_accuracy_drop", "min_sqnr_db", "min_speedup"]
    limit: float
    measured: float | None = Field(description="null: it could not be measured, and the warnings say why.")
    passed: bool | None = Field(description="null: not judged.")


class Verification(Part):
    """The saved artifact, loaded by torch alone in a fresh process under its engine."""

    max_abs_difference: float
    tolerance: float
    seconds: float


class Metric(Part):
    """One figure of a report, flat, as the service keeps it."""

    name: str
    value: float
    unit: Literal["fraction", "ms", "bytes", "dB", "ratio", "mse"]
    batch_size: int | None = None


class Report(Part):
    """What was done, and what it did."""

    octet: Literal[1] = 1
    octet_version: str
    model: ModelFacts
    recipe: Recipe
    engine: EngineFacts
    machine: MachineFacts
    calibration: DataFacts | None = None
    evaluation: DataFacts | None = None
    training: tuple[Epoch, ...] = ()
    latency: tuple[Latency, ...] = ()
    accuracy: Accuracy | None = None
    fidelity: Fidelity
    size: Size
    layers: tuple[LayerFacts, ...] = ()
    fusions: tuple[Fusion, ...] = ()
    lone_norms: tuple[LoneNorm, ...] = Field((), description="Batch norms that no layer before them could take in.")
    repairs: tuple[Repair, ...] = ()
    simulated: tuple[SimulatedTensor, ...] = Field((), description="Under method simulate: each tensor's error.")
    sensitivity: Sensitivity | None = Field(None, description="Where the recipe asks for it: measure.sensitivity.")
    search: Search | None = Field(None, description="Under method auto: what was tried.")
    gates: tuple[GateResult, ...] = ()
    verdict: Literal["passes", "fails"]
    warnings: tuple[str, ...] = ()
    verification: Verification | None = Field(None, description="null until the artifact is saved.")
    seconds: dict[str, float] = Field(default_factory=dict, description="Wall time of each stage.")

    def metrics(self) -> list[Metric]:
        """The figures by name, for a table that can be queried."""
        figures = [
            Metric(name="size.fp32", value=self.size.fp32, unit="bytes"),
            Metric(name="size.int8", value=self.size.int8, unit="bytes"),
            Metric(name="size.ratio", value=self.size.ratio, unit="ratio"),
        ]
        if self.fidelity.sqnr_db is not None:
            figures.append(Metric(name="fidelity.sqnr", value=self.fidelity.sqnr_db, unit="dB"))
        if self.fidelity.agreement is not None:
            figures.append(Metric(name="fidelity.agreement", value=self.fidelity.agreement, unit="fraction"))
        if self.accuracy is not None:
            unit: Literal["fraction", "mse"] = "fraction" if self.accuracy.metric == "accuracy" else "mse"
            figures += [
                Metric(name=f"{self.accuracy.metric}.fp32", value=self.accuracy.fp32, unit=unit),
                Metric(name=f"{self.accuracy.metric}.int8", value=self.accuracy.int8, unit=unit),
                Metric(name=f"{self.accuracy.metric}.drop", value=self.accuracy.drop, unit=unit),
            ]
        for latency in self.latency:
            size = latency.batch_size
            figures += [
                Metric(name="latency.fp32.median", value=latency.fp32.median, unit="ms", batch_size=size),
                Metric(name="latency.fp32.p90", value=latency.fp32.p90, unit="ms", batch_size=size),
                Metric(name="latency.int8.median", value=latency.int8.median, unit="ms", batch_size=size),
                Metric(name="latency.int8.p90", value=latency.int8.p90, unit="ms", batch_size=size),
                Metric(name="latency.ratio", value=latency.ratio, unit="ratio", batch_size=size),
            ]
        return figures

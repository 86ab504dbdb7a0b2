"""The report: what was done to a model, and what it did. Free of torch.

Times are milliseconds, sizes bytes, SQNR decibels, accuracies and losses fractions from 0 to 1, unless said otherwise.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from octet.recipe import Recipe


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelFacts(_Part):
    """The model that was quantized."""

    sha256: str
    parameters: int
    torch_version: str = Field(description="The torch that exported it.")


class EngineFacts(_Part):
    """How the engine was set, and what the deploy CPU must have."""

    name: str
    reduce_range: bool = Field(description="Whether activations use 7 bits.")
    cpu_flags: tuple[str, ...] = Field(description="CPU features the int8 kernels need; `a|b`: either.")
    native: bool = Field(description="Whether the engine is made for the CPU it was measured on.")


class MachineFacts(_Part):
    """Where the figures were taken."""

    cpu: str
    architecture: str
    cores: int
    torch_version: str


class DataFacts(_Part):
    """The data that ranges or figures come from."""

    source: Literal["dataset", "synthetic"]
    samples: int


class Timing(_Part):
    """The distribution of one model's latency, in milliseconds per batch."""

    median: float
    p90: float


class Latency(_Part):
    """fp32 and int8, timed interleaved with the same inputs and threads."""

    batch_size: int
    threads: int
    fp32: Timing
    int8: Timing
    ratio: float = Field(description="Median of the per-round ratios fp32 / int8: above 1, int8 is faster.")
    ratio_low: float = Field(description="10th percentile of the per-round ratios.")
    ratio_high: float = Field(description="90th percentile of the per-round ratios.")
    rounds: int
    baseline: str = Field(description='The form of fp32 that was timed, for example "scripted, frozen".')
    representative: bool = Field(description="False where the engine is not made for this CPU.")
    verdict: Literal["faster", "same", "slower"]


class Accuracy(_Part):
    """Both models on the evaluation data's targets."""

    metric: Literal["accuracy", "mse"]
    fp32: float
    int8: float
    drop: float = Field(description="How much worse int8 is: positive is a loss.")
    samples: int


class Fidelity(_Part):
    """int8 outputs against fp32 outputs on the same inputs."""

    sqnr_db: float | None = Field(description="Signal to quantization noise of the first output; null: identical.")
    agreement: float | None = Field(description="Share of samples with the same top class; null: not a classifier.")
    max_abs_error: float
    source: Literal["evaluation", "calibration", "synthetic"] = Field(description="Where the inputs came from.")
    samples: int


class Size(_Part):
    """Both models as saved TorchScript files."""

    fp32: int
    int8: int
    ratio: float = Field(description="fp32 / int8: above 1, int8 is smaller.")


class LayerFacts(_Part):
    """One layer of the source model, under the path its author gave it."""

    name: str
    type: str
    method: Literal["static", "dynamic", "qat", "float"]
    reason: str | None = Field(None, description="Why it stayed in float, where it did.")
    parameters: int = 0
    weight_sqnr_db: float | None = Field(None, description="The int8 weight against the fp32 weight.")
    activation_sqnr_db: float | None = Field(None, description="The layer's output inside the int8 model against fp32.")


class Epoch(_Part):
    """One epoch of quantization-aware training."""

    number: int
    loss: float


class GateResult(_Part):
    """One gate of the recipe, judged."""

    gate: Literal["max_accuracy_drop", "min_sqnr_db", "min_speedup"]
    limit: float
    measured: float | None = Field(description="null: it could not be measured, and the warnings say why.")
    passed: bool | None = Field(description="null: not judged.")


class Verification(_Part):
    """The saved artifact, loaded by torch alone in a fresh process under its engine."""

    max_abs_difference: float
    tolerance: float
    seconds: float


class Metric(_Part):
    """One figure of a report, flat, as the service keeps it."""

    name: str
    value: float
    unit: Literal["fraction", "ms", "bytes", "dB", "ratio", "mse"]
    batch_size: int | None = None


class Report(_Part):
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

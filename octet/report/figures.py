"""What was measured of both models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from octet.report.part import Part


class Timing(Part):
    """The distribution of one model's latency, in milliseconds per batch."""

    median: float
    p90: float


class Latency(Part):
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


class Accuracy(Part):
    """Both models on the evaluation data's targets."""

    metric: Literal["accuracy", "mse"]
    fp32: float
    int8: float
    drop: float = Field(description="How much worse int8 is: positive is a loss.")
    samples: int


class Fidelity(Part):
    """int8 outputs against fp32 outputs on the same inputs."""

    sqnr_db: float | None = Field(description="Signal to quantization noise of the first output; null: identical.")
    agreement: float | None = Field(description="Share of samples with the same top class; null: not a classifier.")
    max_abs_error: float
    source: Literal["evaluation", "calibration", "synthetic"] = Field(description="Where the inputs came from.")
    samples: int


class Size(Part):
    """Both models as saved TorchScript files, frozen."""

    fp32: int
    int8: int
    ratio: float = Field(description="fp32 / int8: above 1, int8 is smaller.")

"""The sections of a recipe, each with its keys and their limits."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Beyond these a job would only exhaust its worker.
MOST_BATCH = 4096
MOST_THREADS = 256
MOST_SECONDS = 7 * 24 * 3600
MOST_RULES = 4096
MOST_LETTERS = 1000  # as many as the reader lets a layer's path have

Int8Method = Literal["dynamic", "static", "qat"]
"""Methods that end in int8 kernels."""
Method = Literal["dynamic", "static", "qat", "auto", "simulate"]
LayerMethod = Literal["float", "dynamic", "static", "qat"]
ObserverName = Literal["minmax", "moving_average", "histogram", "percentile", "mse", "entropy"]
Levels = Literal["uniform", "power_of_two", "codebook"]
LossName = Literal["distillation", "cross_entropy", "mse"]
DeployCpu = Literal["any", "this", "avx2", "avx512", "vnni", "amx", "arm"]

Bits = Annotated[int, Field(ge=2, le=16)]

_OBSERVER = (
    "What finds the range: the extremes (`minmax`), their moving average over batches, the least squared error of a "
    "`histogram`, a `percentile` of the values, the least mean squared error over clipping ranges (`mse`), or the "
    "least Kullback-Leibler divergence (`entropy`)."
)
_LEVELS = (
    "The values there are: evenly spaced, powers of two, or a codebook found by k-means. Kernels take `uniform`; the "
    "others can be simulated. Powers of two are symmetric whatever the scheme; a codebook takes neither scheme, "
    "observer nor `power_of_two`: it is fitted to the values."
)
_BITS = "Kernels take 8; from 2 to 16 can be simulated."
_PERCENTILE = "The share of values that the observer `percentile` keeps, in percent."


class Section(BaseModel):
    """A part of a recipe: no unknown keys, no infinity or NaN, no text that JSON cannot have, and never changed."""

    # Where text has a limit, pydantic looks at it, and refuses half a surrogate pair.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, str_max_length=MOST_LETTERS)


class Weights(Section):
    """How weights become int8."""

    bits: Bits | None = Field(8, description=f"{_BITS} null: weights stay as they are, in simulation.")
    levels: Levels = Field("uniform", description=_LEVELS)
    granularity: Literal["per_channel", "per_tensor"] = Field(
        "per_channel", description="One scale per output channel, or one for the whole tensor."
    )
    scheme: Literal["symmetric", "affine"] = Field("symmetric", description="Zero point fixed at 0, or free.")
    observer: ObserverName = Field("minmax", description=_OBSERVER)
    percentile: float = Field(99.99, gt=50, le=100, description=_PERCENTILE)
    power_of_two: bool = Field(
        False, description="Round each scale up to a power of two, as shift-only hardware needs."
    )


class Activations(Section):
    """How activations become int8."""

    bits: Bits | None = Field(8, description=f"{_BITS} null: activations stay as they are, in simulation.")
    levels: Levels = Field("uniform", description=_LEVELS)
    granularity: Literal["per_tensor", "per_channel"] = Field(
        "per_tensor",
        description="One scale for the tensor, which is what kernels take, or one per channel, in simulation.",
    )
    scheme: Literal["affine", "symmetric"] = Field("affine", description="Zero point free, or fixed at mid-range.")
    observer: ObserverName = Field("histogram", description=_OBSERVER)
    percentile: float = Field(99.99, gt=50, le=100, description=_PERCENTILE)
    power_of_two: bool = Field(
        False, description="Round each scale up to a power of two, as shift-only hardware needs."
    )
    reduce_range: bool | Literal["auto"] = Field(
        "auto",
        description="7-bit activations, right on x86 CPUs without VNNI. `auto`: by the engine and the deploy CPU.",
    )


class LayerRule(Section):
    """An exception for some layers. Rules are tried in order; the first that matches a layer decides."""

    name: str | None = Field(None, description="Glob over module paths, for example `layer1.*`.")
    type: str | None = Field(None, description="Module type, for example `GRU`.")
    method: LayerMethod | None = Field(
        None, description="What to do with the layers that match; null: what the recipe does."
    )
    bits: Bits | None = Field(
        None, description="Bits of their weights: 8 or 4 for embeddings; from 2 to 16 in simulation."
    )

    @model_validator(mode="after")
    def _selects_and_says_something(self) -> Self:
        if self.name is None and self.type is None:
            msg = "a layer rule needs a `name`, a `type`, or both"
            raise ValueError(msg)
        if self.method is None and self.bits is None:
            msg = "a layer rule needs a `method`, `bits`, or both"
            raise ValueError(msg)
        return self


class Repairs(Section):
    """What is done to the float model so that it takes to eight bits better. Each is off unless asked for."""

    equalize: bool = Field(
        False,
        description="Cross-layer equalization: scales that even out the channels of neighbouring layers move from one "
        "into the next. The float model computes the same.",
    )
    correct_bias: bool = Field(
        False, description="Bias correction: the mean error that rounding gives each channel goes into its bias."
    )
    clip_weights: bool = Field(
        False,
        description="Clips outliers of weights where the finer steps for all other weights gain more than that loses.",
    )

    @property
    def any(self) -> bool:
        """Whether there is any to do."""
        return self.equalize or self.correct_bias or self.clip_weights


class Calibration(Section):
    """The data that activation ranges are taken from, for static and for the start of QAT."""

    samples: int = Field(128, ge=1, description="How many samples of the calibration data are used.")
    batch_size: int = Field(8, ge=1)
    source: Literal["dataset", "synthetic"] = Field(
        "dataset", description="`synthetic`: normal noise in the model's input shape. The report flags it."
    )


class Training(Section):
    """How quantization-aware training trains."""

    epochs: int = Field(1, ge=1, le=1000)
    batch_size: int = Field(32, ge=1)
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd has a momentum of 0.9.")
    learning_rate: float = Field(1.0e-3, gt=0, description="The highest that the schedule gets.")
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["cosine", "constant"] = Field("cosine", description="What the learning rate does after warm-up.")
    warm_up: float = Field(0.1, ge=0, le=1, description="Share of the steps in which the learning rate rises from 0.")
    clip_gradient: float | None = Field(
        1.0, gt=0, description="Largest norm of the gradient of all weights; null: no limit."
    )
    loss: LossName | dict[LossName, Annotated[float, Field(gt=0)]] = Field(
        "distillation",
        description="`distillation` learns from the fp32 model and needs no labels. A mapping from losses to their "
        "weights is a mixture.",
    )
    freeze_observers: float = Field(
        0.5, ge=0, le=1, description="Share of the steps after which activation ranges stay as they are."
    )
    freeze_batch_norm: float = Field(
        0.0, ge=0, le=1, description="Share of the steps after which batch norms' statistics stay as they are."
    )
    validation: float = Field(
        0.1, ge=0, lt=1, description="Share of the training data held back to choose the best epoch by; 0: the last."
    )
    seed: int = Field(0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: CUDA if there is one.")

    @property
    def losses(self) -> dict[LossName, float]:
        """The losses that are added up, with their weights."""
        return self.loss if isinstance(self.loss, dict) else {self.loss: 1.0}

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if not self.losses:
            msg = "loss: a mixture needs at least one loss"
            raise ValueError(msg)
        return self


class Auto(Section):
    """How `method: auto` looks for the fastest model inside the budget that the gates set."""

    seconds: float = Field(
        600.0, gt=0, le=86400, description="No further trial is begun that would likely end later than this."
    )
    evaluations: int = Field(12, ge=1, le=100, description="Most models that are made and measured.")
    qat: bool = Field(False, description="Whether it may train, as the last resort.")


class Measure(Section):
    """What is measured, and for how long."""

    batch_sizes: tuple[int, ...] = Field((1,), min_length=1, max_length=8, description="One latency figure for each.")
    threads: int | Literal["auto"] = Field("auto", description="Intra-op threads; `auto`: the CPUs of the job.")
    seconds: float = Field(3.0, gt=0, le=600, description="Time spent timing, per batch size.")
    layers: bool = Field(True, description="Whether to measure each layer: errors, ranges, saturation, latency.")
    sensitivity: bool = Field(
        False,
        description="Whether to quantize one layer at a time, and to leave ever more of the most sensitive in float.",
    )

    @model_validator(mode="after")
    def _counts_are_sane(self) -> Self:
        if not all(1 <= size <= MOST_BATCH for size in self.batch_sizes):
            msg = f"batch sizes go from 1 to {MOST_BATCH}"
            raise ValueError(msg)
        if self.threads != "auto" and not 1 <= self.threads <= MOST_THREADS:
            msg = f"threads go from 1 to {MOST_THREADS}"
            raise ValueError(msg)
        return self


class Gates(Section):
    """What the int8 model must reach. A gate that fails does not fail the job: the verdict says so."""

    max_accuracy_drop: float | None = Field(
        0.01, ge=0, description="Largest accuracy loss, as a fraction; needs labels, else it is not judged."
    )
    min_sqnr_db: float | None = Field(None, description="Smallest SQNR of the outputs against fp32, in decibels.")
    min_speedup: float | None = Field(None, gt=0, description="Smallest latency ratio fp32 / int8 at every batch size.")

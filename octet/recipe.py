"""The recipe: what to do to a model. YAML or JSON, versioned, and free of torch.

Every key has a default; an unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from octet.engines import ENGINES, EngineName
from octet.errors import InvalidRecipeError
from octet.validation import field_errors

# Beyond these a job would only exhaust its worker.
MOST_BATCH = 4096
MOST_THREADS = 256

Method = Literal["dynamic", "static", "qat"]
LayerMethod = Literal["float", "dynamic", "static", "qat"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Weights(_Section):
    """How weights become int8."""

    granularity: Literal["per_channel", "per_tensor"] = Field(
        "per_channel", description="One scale per output channel, or one for the whole tensor."
    )
    scheme: Literal["symmetric", "affine"] = Field("symmetric", description="Zero point fixed at 0, or free.")
    observer: Literal["minmax"] = Field("minmax", description="What finds the range.")
    power_of_two: bool = Field(
        False, description="Round each scale up to a power of two, as shift-only hardware needs."
    )


class Activations(_Section):
    """How activations become int8."""

    granularity: Literal["per_tensor"] = Field("per_tensor", description="What torch's int8 kernels take.")
    scheme: Literal["affine", "symmetric"] = Field("affine", description="Zero point free, or fixed at mid-range.")
    observer: Literal["histogram", "minmax", "moving_average"] = Field(
        "histogram",
        description="What finds the range: least squared error of a histogram, the extremes, or their moving average.",
    )
    power_of_two: bool = Field(
        False, description="Round each scale up to a power of two, as shift-only hardware needs."
    )
    reduce_range: bool | Literal["auto"] = Field(
        "auto", description="7-bit activations, right on CPUs without VNNI. `auto`: the engine's default."
    )


class LayerRule(_Section):
    """An exception for some layers. Rules are tried in order; the first that matches a layer decides."""

    name: str | None = Field(None, description="Glob over module paths, for example `layer1.*`.")
    type: str | None = Field(None, description="Module type, for example `GRU`.")
    method: LayerMethod = Field(description="What to do with the layers that match.")

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if self.name is None and self.type is None:
            msg = "a layer rule needs a `name`, a `type`, or both"
            raise ValueError(msg)
        return self


class Calibration(_Section):
    """The data that activation ranges are taken from, for static and for the start of QAT."""

    samples: int = Field(128, ge=1, description="How many samples of the calibration data are used.")
    batch_size: int = Field(8, ge=1)
    source: Literal["dataset", "synthetic"] = Field(
        "dataset", description="`synthetic`: normal noise in the model's input shape. The report flags it."
    )


class Training(_Section):
    """How quantization-aware training trains."""

    epochs: int = Field(1, ge=1, le=1000)
    batch_size: int = Field(32, ge=1)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(1.0e-3, gt=0, allow_inf_nan=False)
    loss: Literal["distillation", "cross_entropy", "mse"] = Field(
        "distillation", description="`distillation` learns from the fp32 model and needs no labels."
    )
    seed: int = Field(0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: CUDA if there is one.")


class Measure(_Section):
    """What is measured, and for how long."""

    batch_sizes: tuple[int, ...] = Field((1,), min_length=1, max_length=8, description="One latency figure for each.")
    threads: int | Literal["auto"] = Field("auto", description="Intra-op threads; `auto`: the CPUs of the job.")
    seconds: float = Field(3.0, gt=0, le=600, description="Time spent timing, per batch size.")
    layers: bool = Field(True, description="Whether to measure each layer's error.")

    @model_validator(mode="after")
    def _counts_are_sane(self) -> Self:
        if not all(1 <= size <= MOST_BATCH for size in self.batch_sizes):
            msg = f"batch sizes go from 1 to {MOST_BATCH}"
            raise ValueError(msg)
        if self.threads != "auto" and not 1 <= self.threads <= MOST_THREADS:
            msg = f"threads go from 1 to {MOST_THREADS}"
            raise ValueError(msg)
        return self


class Gates(_Section):
    """What the int8 model must reach. A gate that fails does not fail the job: the verdict says so."""

    max_accuracy_drop: float | None = Field(
        0.01, ge=0, description="Largest accuracy loss, as a fraction; needs labels, else it is not judged."
    )
    min_sqnr_db: float | None = Field(None, description="Smallest SQNR of the outputs against fp32, in decibels.")
    min_speedup: float | None = Field(None, gt=0, description="Smallest latency ratio fp32 / int8 at every batch size.")


class Recipe(_Section):
    """What to do to a model.

    Example:
        >>> Recipe(method="static", engine="x86").needs_calibration
        True
    """

    octet: Literal[1] = Field(1, description="Version of the recipe format.")
    method: Method = Field("static", description="dynamic, static or qat (quantization-aware training).")
    engine: EngineName = Field("x86", description="The kernel library that will run the model.")
    weights: Weights = Weights()
    activations: Activations = Activations()
    layers: tuple[LayerRule, ...] = Field((), description="Exceptions; the first rule that matches a layer decides.")
    calibration: Calibration = Calibration()
    training: Training = Training()
    measure: Measure = Measure()
    gates: Gates = Gates()

    @model_validator(mode="after")
    def _methods_go_together(self) -> Self:
        allowed: tuple[LayerMethod, ...] = (
            ("float", "dynamic", "qat") if self.method == "qat" else ("float", "dynamic", "static")
        )
        for position, rule in enumerate(self.layers):
            if rule.method not in allowed:
                msg = f"layers/{position}: method {rule.method!r} cannot be mixed into a {self.method} recipe"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _engine_takes_the_weights(self) -> Self:
        if self.weights.scheme == "affine" and not ENGINES[self.engine].affine_weights:
            msg = f"weights/scheme: {self.engine} takes symmetric weights only"
            raise ValueError(msg)
        return self

    @property
    def needs_calibration(self) -> bool:
        """Whether any layer's activation ranges come from data."""
        return self.method != "dynamic" or any(rule.method == "static" for rule in self.layers)

    @classmethod
    def parse(cls, document: Any) -> Recipe:
        """A recipe from a decoded document.

        Raises:
            InvalidRecipeError: With one entry in `errors` for each offending place.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            errors = field_errors(error, cls)
            first = errors[0]
            raise InvalidRecipeError(
                f"The recipe is not valid: {first.message} (at {first.pointer or '/'}).", hint=first.hint, errors=errors
            ) from None

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """A recipe from a YAML or JSON file.

        Raises:
            InvalidRecipeError: If the file cannot be read or is not a recipe.
        """
        try:
            document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRecipeError(f"The recipe {path} cannot be read: {error}.") from error
        except yaml.YAMLError as error:
            raise InvalidRecipeError(f"The recipe {path} is neither YAML nor JSON: {error}.") from error
        return cls.parse(document)

    @classmethod
    def preset(cls, name: str) -> Recipe:
        """One of the recipes that come with Octet; `PRESETS` lists them.

        Raises:
            InvalidRecipeError: If there is none of that name.
        """
        if name not in PRESETS:
            raise InvalidRecipeError(f"There is no preset {name!r}.", hint=f"Presets: {', '.join(PRESETS)}.")
        return PRESETS[name].recipe

    def canonical(self) -> str:
        """The one JSON text of this recipe: every key present, keys sorted, no white space."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


class Preset(BaseModel):
    """A recipe with a name and a reason to choose it."""

    model_config = ConfigDict(frozen=True)

    name: str
    summary: str
    recipe: Recipe


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="dynamic",
            summary="Weights in int8, activations on the fly. No data needed; best for linear and recurrent layers.",
            recipe=Recipe(method="dynamic"),
        ),
        Preset(
            name="static",
            summary="Weights and activations in int8, ranges from calibration data. Best for convolutional models.",
            recipe=Recipe(method="static"),
        ),
        Preset(
            name="qat",
            summary="Static, then a short training with the rounding simulated. For models that static costs too much.",
            recipe=Recipe(method="qat"),
        ),
        Preset(
            name="static-vnni",
            summary="Static on oneDNN, for CPUs with VNNI or AMX: 8-bit activations and fused conv + add + relu.",
            recipe=Recipe(method="static", engine="onednn"),
        ),
        Preset(
            name="static-arm",
            summary="Static on QNNPACK, for ARM phones and boards. Latencies taken on x86 do not carry over.",
            recipe=Recipe(method="static", engine="qnnpack"),
        ),
    )
}

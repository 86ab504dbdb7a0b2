"""The recipe itself: its sections put together, and read from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from octet.engines import EngineName
from octet.errors import InvalidRecipeError
from octet.recipe.checks import conflicts
from octet.recipe.sections import (
    MOST_RULES,
    MOST_SECONDS,
    Activations,
    Auto,
    Calibration,
    DeployCpu,
    Gates,
    Int8Method,
    LayerRule,
    Measure,
    Method,
    Repairs,
    Section,
    Training,
    Weights,
)
from octet.validation import field_errors


class Recipe(Section):
    """What to do to a model.

    Example:
        >>> Recipe(method="static", engine="x86").needs_calibration
        True
    """

    octet: Literal[1] = Field(1, description="Version of the recipe format.")
    method: Method = Field(
        "static",
        description="`dynamic`, `static` or `qat` (quantization-aware training); `auto` finds the fastest model inside "
        "the gates; `simulate` fakes the rounding of any bit width, without kernels.",
    )
    engine: EngineName = Field("x86", description="The kernel library that will run the model.")
    deploy_cpu: DeployCpu = Field(
        "any",
        description="The CPU that the model will run on: `any` that the engine is for, `this` one, or by what it has. "
        "Decides whether activations need only 7 bits.",
    )
    timeout_seconds: float | None = Field(
        None,
        gt=0,
        le=MOST_SECONDS,
        # Not in the JSON of those who have no use for it: who reads that may know the recipe as it was before this key.
        exclude_if=lambda seconds: seconds is None,
        description="The longest that the job may take; then it fails. A service has a limit of its own beside it.",
    )
    strict: bool = Field(False, description="Whether a rule that matches no layer is an error, not a warning.")
    weights: Weights = Weights()
    activations: Activations = Activations()
    layers: tuple[LayerRule, ...] = Field(
        (), max_length=MOST_RULES, description="Exceptions; the first rule that matches a layer decides."
    )
    repairs: Repairs = Repairs()
    calibration: Calibration = Calibration()
    training: Training = Training()
    auto: Auto = Auto()
    measure: Measure = Measure()
    gates: Gates = Gates()

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        found = [
            InitErrorDetails(type="value_error", loc=place, input=None, ctx={"error": message})
            for place, message in conflicts(self)
        ]
        if found:
            raise ValidationError.from_exception_data("Recipe", found)
        return self

    @property
    def needs_calibration(self) -> bool:
        """Whether any layer's activation ranges come from data."""
        if self.method == "simulate":
            return self.activations.bits is not None or self.repairs.correct_bias
        by_rule = any(rule.method == "static" for rule in self.layers)
        return self.method != "dynamic" or self.repairs.correct_bias or by_rule

    @property
    def int8_method(self) -> Int8Method:
        """What is done with layers that no rule names; a simulation stands for static kernels."""
        match self.method:
            case "auto" | "simulate":
                return "static"
            case method:
                return method

    @property
    def trains(self) -> bool:
        """Whether weights may be trained."""
        return self.method == "qat" or (self.method == "auto" and self.auto.qat)

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
        from octet.recipe.presets import PRESETS  # noqa: PLC0415 - presets are recipes: they come after this

        if name not in PRESETS:
            raise InvalidRecipeError(f"There is no preset {name!r}.", hint=f"Presets: {', '.join(PRESETS)}.")
        return PRESETS[name].recipe

    def canonical(self) -> str:
        """The one JSON text of this recipe: every key but an unused `timeout_seconds`, keys sorted, no white space."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

"""Whether a job can succeed with the data it is given: decided on specs alone, before anything is read or run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.data.fit import check_batch, check_dataset
from octet.errors import FieldError, InvalidDatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from octet.data.fit import Role
    from octet.recipe import LossName, Recipe
    from octet.spec import DatasetSpec, ProgramSpec

# What a training loss needs in the calibration data.
_TARGETS: dict[LossName, str] = {"cross_entropy": "label", "mse": "target"}


def check_data(program: ProgramSpec, recipe: Recipe, data: Mapping[Role, DatasetSpec]) -> None:
    """Checks that the data fits the model, and is what the recipe needs.

    Raises:
        InvalidModelError: If the model cannot be run in batches.
        InvalidDatasetError: If data or targets are missing, or do not fit; `errors` points at the role.
    """
    check_batch(program)
    for role, dataset in data.items():
        check_dataset(dataset, program, role)
    if recipe.needs_calibration:
        _check_calibration(recipe, data.get("calibration"))
    if recipe.trains:
        _check_training(recipe, data.get("calibration"))
    if recipe.method == "auto":
        _check_budget(recipe, data)


def _check_calibration(recipe: Recipe, given: DatasetSpec | None) -> None:
    if given is None and recipe.calibration.source == "dataset":
        raise _missing(
            "calibration",
            f"A recipe of method {recipe.method} takes activation ranges from calibration data, and none was given.",
            "Give calibration data, or set calibration.source to synthetic, which the report flags.",
        )


def _check_training(recipe: Recipe, given: DatasetSpec | None) -> None:
    """Made-up inputs have no targets."""
    arrays = given.arrays if given is not None and recipe.calibration.source == "dataset" else {}
    for loss in recipe.training.losses:
        needed = _TARGETS.get(loss)
        if needed is not None and needed not in arrays:
            raise _missing(
                "calibration",
                f"Training with {loss} needs an array `{needed}` in the calibration data, and there is none.",
                "Add it, or set training.loss to distillation, which needs no targets.",
            )


def _check_budget(recipe: Recipe, data: Mapping[Role, DatasetSpec]) -> None:
    """A search goes by the gates, so one of them must be of the kind that can be judged."""
    calibration = data.get("calibration") if recipe.calibration.source == "dataset" else None
    judging = data.get("evaluation") or calibration
    labelled = judging is not None and "label" in judging.arrays
    if recipe.gates.min_sqnr_db is None and not labelled:
        raise _missing(
            "evaluation",
            "Method auto has no budget to go by: gates.max_accuracy_drop needs labels, and there are none.",
            "Give evaluation data with an array `label`, or set gates.min_sqnr_db, which needs none.",
        )


def _missing(role: Role, message: str, hint: str) -> InvalidDatasetError:
    return InvalidDatasetError(message, hint=hint, errors=[FieldError(f"/{role}", message, hint)])

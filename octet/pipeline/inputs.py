"""Which samples a job calibrates, trains and is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from octet.data.needs import check_data
from octet.data.samples import Samples, from_dataset, synthetic
from octet.report import DataFacts

if TYPE_CHECKING:
    from octet.data.dataset import Dataset
    from octet.data.fit import Role
    from octet.recipe import Recipe
    from octet.spec import ProgramSpec

SYNTHETIC_EVALUATION = 64
"""Made-up samples to compare both models on, where there are no real ones."""


@dataclass(frozen=True)
class JobData:
    """What a job runs on.

    Attributes:
        calibration: Where activation ranges come from; None: the recipe needs none.
        training: What QAT trains on; None: it is not QAT.
        evaluation: What both models are compared on.
        evaluated_on: What that is.
        warnings: What its reader must know.
    """

    calibration: Samples | None
    training: Samples | None
    evaluation: Samples
    evaluated_on: Literal["evaluation", "calibration", "synthetic"]
    warnings: tuple[str, ...]

    @property
    def calibration_facts(self) -> DataFacts | None:
        """For the report."""
        return None if self.calibration is None else _facts(self.calibration)

    @property
    def evaluation_facts(self) -> DataFacts:
        """For the report."""
        return _facts(self.evaluation)


def choose_data(spec: ProgramSpec, recipe: Recipe, calibration: Dataset | None, evaluation: Dataset | None) -> JobData:
    """Picks the samples; nothing has been computed yet.

    Raises:
        InvalidDatasetError: If the recipe needs data, or targets, that are not there.
        InvalidModelError: If the model cannot be run in batches.
    """
    roles: tuple[tuple[Role, Dataset | None], ...] = (("calibration", calibration), ("evaluation", evaluation))
    check_data(spec, recipe, {role: dataset.spec for role, dataset in roles if dataset is not None})
    given, own = (None if dataset is None else from_dataset(dataset, spec) for _, dataset in roles)
    source = None
    if recipe.needs_calibration:
        source = given if recipe.calibration.source == "dataset" else synthetic(spec, recipe.calibration.samples)
    used, spare = _split(source, recipe.calibration.samples) if source is not None else (None, given)
    training = source if recipe.trains else None
    judged, evaluated_on, warnings = _evaluation(spec, own, None if training is not None else spare, used)
    if source is not None and source.source == "synthetic":
        warnings += ("Activation ranges come from synthetic inputs: real data will not fit them as well.",)
    if own is not None and given is not None and _same(own, given):
        warnings += ("Calibration and evaluation data are the same: the figures flatter the int8 model.",)
    if used is not None and all(map(_constant, used.arrays)):
        warnings += ("Calibration data is one value throughout: the ranges taken from it fit no other data.",)
    return JobData(used, training, judged, evaluated_on, warnings)


def _split(samples: Samples, count: int) -> tuple[Samples, Samples | None]:
    """`count` samples spread evenly over `samples`, which may be sorted by class, and the others."""
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    others = np.setdiff1d(np.arange(len(samples)), chosen)
    return samples.take(chosen), samples.take(others) if len(others) else None


def _evaluation(
    spec: ProgramSpec, own: Samples | None, held_back: Samples | None, used: Samples | None
) -> tuple[Samples, Literal["evaluation", "calibration", "synthetic"], tuple[str, ...]]:
    """The best there is to compare both models on, and what to say about it."""
    if own is not None:
        return own, "evaluation", ()
    if held_back is not None and held_back.source == "dataset":
        return held_back, "calibration", ()
    if used is not None and used.source == "dataset":
        return (
            used,
            "calibration",
            ("The figures are of samples that the model was calibrated or trained on: give evaluation data.",),
        )
    made_up = synthetic(spec, SYNTHETIC_EVALUATION, seed=1)
    return made_up, "synthetic", ("The figures are of synthetic inputs: give evaluation data for real ones.",)


def _same(one: Samples, other: Samples) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.arrays, other.arrays, strict=True))


def _constant(array: np.ndarray[Any, Any]) -> bool:
    return array.size > 0 and bool((array == array.flat[0]).all())


def _facts(samples: Samples) -> DataFacts:
    return DataFacts(source=samples.source, samples=len(samples))

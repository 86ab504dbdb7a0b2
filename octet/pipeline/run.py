"""The story of a job: data chosen, model quantized, everything measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from octet.pipeline.auto import find
from octet.pipeline.inputs import choose_data
from octet.pipeline.job import Job
from octet.pipeline.reporting import report_of
from octet.pipeline.result import Result
from octet.pipeline.simulation import simulation
from octet.pipeline.stages import Stages
from octet.pipeline.trial import try_out
from octet.progress import OnProgress, ignore
from octet.quantization import use_engine
from octet.rules import check_rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from octet.data.dataset import Dataset
    from octet.program import Program
    from octet.recipe import Method, Recipe


def _nothing() -> None:
    """What is done about a checkpoint by default."""


def quantize(
    program: Program,
    recipe: Recipe,
    *,
    calibration: Dataset | None = None,
    evaluation: Dataset | None = None,
    on_progress: OnProgress = ignore,
    checkpoint: Path | None = None,
    on_checkpoint: Callable[[], None] = _nothing,
) -> Result:
    """Quantizes `program` as `recipe` says, and measures what that did.

    Args:
        program: From `octet.load`.
        recipe: What to do.
        calibration: Where activation ranges come from, and what QAT trains on.
        evaluation: What both models are compared on. Without it, calibration data that was not used is taken, then
            the calibration data itself, then synthetic inputs; the report says which.
        on_progress: Told how far the job is.
        checkpoint: A file that QAT writes after each epoch and, if it is there already, goes on from. One of another
            job is ignored, and the report says so. It is the caller's to remove.
        on_checkpoint: Called each time that file is complete.

    Raises:
        InvalidRecipeError: If the recipe is strict, and a rule matches no layer.
        InvalidDatasetError: If data is missing, or does not fit the model.
        InvalidModelError: If the model does not run on its own inputs.
        OutOfMemoryError: If it asks for more memory than there is.
        TimedOutError: If it takes longer than the recipe allows; that is seen between two steps.
        QuantizationFailedError: If it cannot be made int8, or its training diverges.
    """
    stages = Stages(recipe, on_progress)
    stages.at("load", 0.0, "building the model")
    check_rules(recipe, program.spec)
    data = choose_data(program.spec, recipe, calibration, evaluation)
    job = Job(program, recipe, data, program.module(), stages, checkpoint, on_checkpoint)
    try_out(job.module, job.inputs)  # early, and about the model itself
    with use_engine(recipe.engine):
        return _TOLD.get(recipe.method, _conversion)(job)


def _conversion(job: Job) -> Result:
    """One model, of kernels."""
    quantized = job.quantized(job.stages.at)
    return Result.of(job, quantized.int8, quantized.scripted, report_of(job, quantized))


def _search(job: Job) -> Result:
    """The best of many."""
    found = find(job)
    report = report_of(replace(job, recipe=found.candidate.recipe), found.quantized)
    facts = {"recipe": job.recipe, "search": found.search, "warnings": (*report.warnings, *found.notes)}
    return Result.of(job, found.quantized.int8, found.quantized.scripted, report.model_copy(update=facts))


_TOLD: dict[Method, Callable[[Job], Result]] = {"auto": _search, "simulate": simulation}
"""Methods that tell another story."""

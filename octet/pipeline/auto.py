"""`method: auto`: makes and measures the models that a search asks for, and keeps the best."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from octet.analysis import rank_layers
from octet.errors import OctetError, QuantizationFailedError, TimedOutError
from octet.measure import best_float_form, compare, measure_latency, measuring_alone, threads_of
from octet.pipeline.gates import judge, met
from octet.report import Search, Trial
from octet.rules import rule_of
from octet.search import SPENT, Candidate, Measured, better, explore, on_pareto_front

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from octet.measure.latency import Baseline
    from octet.pipeline.job import Job
    from octet.progress import Stage
    from octet.quantization import Quantized
    from octet.recipe import Gates
    from octet.report import Accuracy, Fidelity, Latency

MOST_SECONDS_OF_TIMING = 1.0
"""For one trial. The model that is kept is timed again, as long as the recipe says."""
MOST_RANKING_SAMPLES = 32
"""Calibration samples that the rounding of each layer is simulated on, to rank them."""


@dataclass(frozen=True)
class Found:
    """The model that was kept, and how it was found.

    Attributes:
        candidate: What it is.
        quantized: The model.
        search: For the report.
        notes: What else the report should say.
    """

    candidate: Candidate
    quantized: Quantized
    search: Search
    notes: tuple[str, ...]


class _OutOfBudgetError(Exception):
    """There is no time, or no evaluation, left for another model."""


def find(job: Job) -> Found:
    """Looks for the fastest model inside the budget that the gates of `job` set; the engine must be set.

    Raises:
        QuantizationFailedError: If no model at all could be made.
    """
    trials = _Trials(job)
    try:
        stopped_by = explore(job.recipe, trials)
    except _OutOfBudgetError as end:
        stopped_by = str(end)
    return trials.found(stopped_by)


@dataclass(frozen=True)
class _Model:
    """A model that was made, and its figures."""

    candidate: Candidate
    quantized: Quantized
    accuracy: Accuracy | None
    fidelity: Fidelity
    latency: Latency

    def judged(self, gates: Gates) -> Measured:
        """By the gates that are about accuracy. The loss is a fraction of the samples, or else negative decibels."""
        results = [
            gate for gate in judge(gates, self.accuracy, self.fidelity, (self.latency,)) if gate.gate != "min_speedup"
        ]
        drop = next((gate.measured for gate in results if gate.gate == "max_accuracy_drop"), None)
        decibels = float("inf") if self.fidelity.sqnr_db is None else self.fidelity.sqnr_db
        return Measured(
            loss=-decibels if drop is None else drop,
            speedup=self.latency.ratio,
            within=met(results),
        )

    def trial(self, number: int, measured: Measured, *, seconds: float) -> Trial:
        """For the report."""
        return Trial(
            number=number,
            what=self.candidate.what,
            recipe=self.candidate.recipe,
            float_layers=len(self.candidate.float_layers),
            accuracy=self.accuracy and self.accuracy.int8,
            accuracy_drop=self.accuracy and self.accuracy.drop,
            sqnr_db=self.fidelity.sqnr_db,
            latency_ms=self.latency.int8.median,
            speedup=self.latency.ratio,
            within_budget=measured.within,
            seconds=seconds,
        )


@dataclass
class _Trials:
    """Everything that was tried; this is what a search makes its models with."""

    job: Job
    trials: list[Trial] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ranked: int = 0
    layers: int = 0
    _best: _Model | None = None
    _chosen: int = 0
    _start: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> int:
        """How many more models may be made."""
        return self.job.recipe.auto.evaluations - len(self.trials)

    def measure(self, candidate: Candidate) -> Measured | None:
        """Makes a model and measures it; None: it cannot be made."""
        began = time.monotonic()
        self._check_budget(began)
        try:
            model = self._make(candidate)
        except TimedOutError:
            raise
        except OctetError as error:
            self.failures.append(f"The trial of {candidate.what!r} failed: {error.message}")
            return None
        measured = model.judged(self.job.recipe.gates)
        if better(measured, self.measured[self._chosen] if self._best else None):
            self._best, self._chosen = model, len(self.trials)
        self.measured.append(measured)
        self.trials.append(model.trial(len(self.measured), measured, seconds=time.monotonic() - began))
        self.layers = max(self.layers, _weighted_layers(model.quantized))
        return measured

    def rank(self, candidate: Candidate) -> Sequence[str]:
        """The layers that `candidate` quantizes, the most sensitive first, by their rounding simulated one by one.

        Without those that the user has a rule for: it goes before any of the search.
        """
        self._check_budget(time.monotonic())
        say, job = self._say("ranking the layers"), self.job
        simulated = replace(job, recipe=candidate.recipe).simulated(say)
        samples = (job.data.calibration or job.data.evaluation).take(slice(0, MOST_RANKING_SAMPLES))
        ranking = rank_layers(
            simulated, job.module, samples, lambda done, of: say("measure", done / of, f"layer {done} of {of}")
        )
        self.ranked = len(ranking)
        types = {layer.name: layer.type for layer in job.program.spec.layers}
        return [layer.name for layer in ranking if rule_of(layer.name, types[layer.name], job.recipe) is None]

    def found(self, stopped_by: str) -> Found:
        """What came of it."""
        if self._best is None:
            raise QuantizationFailedError("No model could be made: " + " ".join(self.failures))
        fronts = on_pareto_front(self.measured)
        trials = tuple(
            trial.model_copy(update={"pareto": front, "chosen": position == self._chosen})
            for position, (trial, front) in enumerate(zip(self.trials, fronts, strict=True))
        )
        met = trials[self._chosen].within_budget
        search = Search(
            trials=trials,
            layers=self.layers,
            ranking_passes=self.ranked,
            met=met,
            stopped_by=stopped_by,
        )
        missed = () if met else ("No model met the budget: the most accurate was kept.",)
        return Found(self._best.candidate, self._best.quantized, search, (*missed, *self.failures))

    def _make(self, candidate: Candidate) -> _Model:
        job = replace(self.job, recipe=candidate.recipe)
        quantized = job.quantized(self._say(candidate.what))
        comparison = compare(job.module, quantized.scripted, job.data.evaluation, lambda *_: None)
        fidelity = comparison.fidelity(job.data.evaluated_on)
        return _Model(candidate, quantized, comparison.accuracy(), fidelity, self._latency(quantized))

    def _check_budget(self, now: float) -> None:
        """Ends the search where another trial is one too many, or would likely end too late."""
        if self.left <= 0:
            raise _OutOfBudgetError(SPENT)
        longest = max((trial.seconds for trial in self.trials), default=0.0)
        if self.trials and now - self._start + longest > self.job.recipe.auto.seconds:
            raise _OutOfBudgetError("no time is left for another trial")

    def _say(self, what: str) -> Callable[[Stage, float, str], None]:
        """What the steps of a trial tell their progress to."""
        number, most, stages = len(self.trials) + 1, self.job.recipe.auto.evaluations, self.job.stages

        def say(stage: Stage, share: float, message: str = "") -> None:
            del stage
            stages.at("prepare", (number - 1 + share) / (most + 1), f"trial {number}: {what}: {message}".rstrip(": "))

        return say

    def _latency(self, quantized: Quantized) -> Latency:
        measure = self.job.recipe.measure
        with measuring_alone(on_wait=lambda: self.job.stages.say("waiting for another measurement on this machine")):
            return measure_latency(
                self._baseline,
                quantized.scripted,
                self._batch,
                thread_count=threads_of(measure),
                seconds=min(MOST_SECONDS_OF_TIMING, measure.seconds),
                representative=True,
            )

    @cached_property
    def _batch(self) -> tuple[Tensor, ...]:
        evaluation = self.job.data.evaluation
        return evaluation.tiled(evaluation.fixed_batch or self.job.recipe.measure.batch_sizes[0])

    @cached_property
    def _baseline(self) -> Baseline:
        job = self.job
        return best_float_form(job.module, job.scripted, self._batch, threads_of(job.recipe.measure))


def _weighted_layers(quantized: Quantized) -> int:
    """How many layers with weights are in int8."""
    layers = (quantized.source.get_submodule(name) for name in quantized.plan.int8_layers)
    return sum(next(layer.parameters(), None) is not None for layer in layers)

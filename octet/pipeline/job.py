"""The story of a job: data chosen, model quantized, everything measured, artifact saved and verified."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from octet import artifact, torchscript
from octet.analysis import layer_facts
from octet.engines import ENGINES
from octet.measure import (
    best_float_form,
    compare,
    machine_facts,
    measure_latency,
    measuring_alone,
    missing_cpu_flags,
    threads_of,
)
from octet.measure.latency import threads
from octet.pipeline.gates import judge, not_judged
from octet.pipeline.inputs import JobData, choose_data
from octet.pipeline.stages import Stages
from octet.pipeline.trial import try_out
from octet.progress import OnProgress, ignore
from octet.quantization import Quantized, quantize_module, reduces_range, use_engine
from octet.report import EngineFacts, ModelFacts, Report, Size
from octet.version import __version__

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.fx import GraphModule

    from octet.data.dataset import Dataset
    from octet.program import Program
    from octet.recipe import Recipe
    from octet.report import Accuracy, Fidelity, Latency, LayerFacts
    from octet.spec import ProgramSpec

SAMPLE_SIZE = 4
"""Samples that kernels are tried with, and that are saved with the model."""


@dataclass
class Result:
    """An int8 model and its report.

    Attributes:
        module: The int8 model; it runs in this process.
        report: What was done, and what it did. `save` adds the verification.
    """

    module: GraphModule
    report: Report
    _scripted: torch.jit.ScriptModule = field(repr=False)
    _spec: ProgramSpec = field(repr=False)
    _inputs: tuple[Tensor, ...] = field(repr=False)
    _stages: Stages = field(repr=False)

    def save(self, directory: str | Path, *, on_progress: OnProgress | None = None) -> Path:
        """Writes the artifact, and loads it in a fresh process to see that it gives the same outputs.

        Args:
            directory: New or empty. It appears once everything in it is written and verified, or not at all.
            on_progress: Instead of the listener that `quantize` was given.

        Raises:
            DestinationExistsError: If there is something at `directory` already.
            VerificationFailedError: If the saved model is not the one that was measured.
        """
        directory = Path(directory)
        recipe, engine = self.report.recipe, self.report.engine
        stages = self._stages
        stages.on_progress = on_progress or stages.on_progress
        stages.at("save", 0.0, "writing the artifact")
        thread_count = threads_of(recipe.measure)
        with artifact.written_whole(directory) as folder, use_engine(engine.name), threads(thread_count):
            sample = artifact.run_sample(self._scripted, self._inputs)
            artifact.write_model(folder, self._scripted, sample, engine.name, self._spec)
            stages.at("verify", 0.0, "loading it in a fresh process")
            check = artifact.Check(engine.name, thread_count, sample.tolerance)
            verification = check.run(folder)
            stages.stop()
            self.report = self.report.model_copy(update={"verification": verification, "seconds": dict(stages.seconds)})
            artifact.write_report(folder, self.report)
            artifact.write_manifest(folder, self._spec, recipe, engine, check)
        stages.at("verify", 1.0, "verified")
        return directory


def quantize(
    program: Program,
    recipe: Recipe,
    *,
    calibration: Dataset | None = None,
    evaluation: Dataset | None = None,
    on_progress: OnProgress = ignore,
) -> Result:
    """Quantizes `program` as `recipe` says, and measures what that did.

    Args:
        program: From `octet.load`.
        recipe: What to do.
        calibration: Where activation ranges come from, and what QAT trains on.
        evaluation: What both models are compared on. Without it, calibration data that was not used is taken, then
            the calibration data itself, then synthetic inputs; the report says which.
        on_progress: Told how far the job is.

    Raises:
        InvalidDatasetError: If data is missing, or does not fit the model.
        InvalidModelError: If the model does not run on its own inputs.
        OutOfMemoryError: If it asks for more memory than there is.
        QuantizationFailedError: If it cannot be made int8, or its training diverges.
    """
    stages = Stages(recipe, on_progress)
    stages.at("load", 0.0, "building the model")
    data = choose_data(program.spec, recipe, calibration, evaluation)
    job = _Job(program, recipe, data, program.module(), stages)
    try_out(job.module, job.inputs)  # early, and about the model itself
    with use_engine(recipe.engine):
        quantized = quantize_module(
            job.module,
            recipe,
            inputs=job.inputs,
            calibration=data.calibration,
            training=data.training,
            on_stage=stages.at,
        )
        report = _report(job, quantized)
    return Result(quantized.int8, report, quantized.scripted, program.spec, job.inputs, stages)


@dataclass(frozen=True)
class _Job:
    """What every step of a job needs."""

    program: Program
    recipe: Recipe
    data: JobData
    module: GraphModule
    stages: Stages

    @cached_property
    def scripted(self) -> torch.jit.ScriptModule:
        """The float model as TorchScript: what int8 is weighed and timed against."""
        return torchscript.script(self.module)

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """A small batch, of the one size that the model takes if it takes only one."""
        samples = self.data.evaluation
        return samples.tiled(samples.fixed_batch or SAMPLE_SIZE)


def _report(job: _Job, quantized: Quantized) -> Report:
    """Everything in it is read or measured here."""
    fidelity, accuracy = _compare(job, quantized)
    layers = _layers(job, quantized)
    latency = _latency(job, quantized)
    gates = judge(job.recipe.gates, accuracy, fidelity, latency)
    size = _size(job, quantized)
    job.stages.at("measure", 1.0, "measured")
    job.stages.stop()
    return Report(
        octet_version=__version__,
        model=_model_facts(job.program),
        recipe=job.recipe,
        engine=_engine_facts(job.recipe),
        machine=machine_facts(),
        calibration=job.data.calibration_facts,
        evaluation=job.data.evaluation_facts,
        training=quantized.epochs,
        latency=latency,
        accuracy=accuracy,
        fidelity=fidelity,
        size=size,
        layers=layers,
        gates=gates,
        verdict="fails" if any(gate.passed is False for gate in gates) else "passes",
        warnings=(
            *job.program.spec.notes,
            *job.data.warnings,
            *quantized.plan.warnings,
            *_warnings(job),
            *not_judged(gates),
        ),
        seconds=dict(job.stages.seconds),
    )


def _compare(job: _Job, quantized: Quantized) -> tuple[Fidelity, Accuracy | None]:
    comparison = compare(
        job.module,
        quantized.scripted,
        job.data.evaluation,
        lambda done, of: job.stages.at("measure", 0.4 * done / of, f"comparing sample {done} of {of}"),
    )
    return comparison.fidelity(job.data.evaluated_on), comparison.accuracy()


def _layers(job: _Job, quantized: Quantized) -> tuple[LayerFacts, ...]:
    job.stages.at("measure", 0.4, "measuring each layer")
    return layer_facts(job.program.spec, quantized, job.recipe, job.data.evaluation)


def _latency(job: _Job, quantized: Quantized) -> tuple[Latency, ...]:
    """One figure for each batch size of the recipe, or for the only one that the model takes."""
    fixed = job.data.evaluation.fixed_batch
    sizes = (fixed,) if fixed else job.recipe.measure.batch_sizes
    return tuple(_latency_at(size, 0.5 + 0.5 * place / len(sizes), job, quantized) for place, size in enumerate(sizes))


def _latency_at(size: int, share: float, job: _Job, quantized: Quantized) -> Latency:
    """The figure for batches of `size`; `share` of the stage is done before it."""
    inputs, thread_count = job.data.evaluation.tiled(size), threads_of(job.recipe.measure)
    job.stages.at("measure", share, f"about to time batches of {size}")
    with measuring_alone(on_wait=lambda: job.stages.say("waiting for another measurement on this machine")):
        job.stages.say(f"timing batches of {size}")
        return measure_latency(
            best_float_form(job.module, job.scripted, inputs, thread_count),
            quantized.scripted,
            inputs,
            thread_count=thread_count,
            seconds=job.recipe.measure.seconds,
            representative=_representative(job.recipe),
        )


def _size(job: _Job, quantized: Quantized) -> Size:
    fp32, int8 = (torchscript.saved_bytes(model) for model in (job.scripted, quantized.scripted))
    return Size(fp32=fp32, int8=int8, ratio=fp32 / int8)


def _model_facts(program: Program) -> ModelFacts:
    spec = program.spec
    return ModelFacts(sha256=program.sha256, parameters=spec.parameters, torch_version=spec.torch_version)


def _engine_facts(recipe: Recipe) -> EngineFacts:
    engine = ENGINES[recipe.engine]
    return EngineFacts(
        name=engine.name, reduce_range=reduces_range(recipe), cpu_flags=engine.cpu_flags, native=engine.native
    )


def _representative(recipe: Recipe) -> bool:
    engine = ENGINES[recipe.engine]
    return engine.native and not missing_cpu_flags(engine)


def _warnings(job: _Job) -> tuple[str, ...]:
    """What the reader of the figures must know about how they were taken."""
    engine, fixed = ENGINES[job.recipe.engine], job.data.evaluation.fixed_batch
    warnings = []
    if not engine.native:
        warnings.append(f"{engine.name} is made for {engine.summary}: latencies taken on this CPU do not carry over.")
    warnings += [
        f"This CPU has no {flag}: {engine.name} runs here, but not as fast as where it should."
        for flag in missing_cpu_flags(engine)
    ]
    if fixed and job.recipe.measure.batch_sizes != (fixed,):
        warnings.append(f"The model was exported with a fixed batch of {fixed}: it was timed with no other.")
    if fixed and any(isinstance(size, str) for tensor in job.program.inputs for size in tensor.shape[1:]):
        warnings.append(
            f"The first dimension, fixed at {fixed}, was taken for the batch, and another may vary: "
            "if that one is the batch, export the model with the batch first."
        )
    return tuple(warnings)

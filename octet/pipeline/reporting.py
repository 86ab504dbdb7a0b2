"""The report of a job: everything in it is read or measured here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from octet import torchscript
from octet.analysis import layer_facts, sensitivity
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
from octet.pipeline.gates import judge, not_judged
from octet.quantization import reduces_range
from octet.report import EngineFacts, ModelFacts, Report, Size
from octet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from octet.pipeline.job import Job
    from octet.program import Program
    from octet.quantization import Quantized
    from octet.recipe import Recipe
    from octet.report import Latency, LayerFacts, Sensitivity


def report_of(job: Job, quantized: Quantized) -> Report:
    """What was done to the model of `job`, and what it did; the engine must be set."""
    forms = (torchscript.as_saved(job.scripted), quantized.scripted)
    fp32, int8 = (torchscript.saved_bytes(model) for model in forms)
    return figures_of(
        job,
        quantized.scripted,
        warnings=quantized.plan.warnings,
        layers=_layers(job, quantized),
        latency=_latency(job, quantized),
        size=Size(fp32=fp32, int8=int8, ratio=fp32 / int8),
        training=quantized.epochs,
        fusions=quantized.fusions,
        lone_norms=quantized.lone_norms,
        repairs=quantized.repairs,
    )


def _sensitivity(job: Job) -> Sensitivity | None:
    """By simulation under the same recipe, if it asks for it."""
    if not job.recipe.measure.sensitivity:
        return None
    say = partial(job.stages.at, "measure")
    simulated = job.simulated(lambda _, share, message: say(0.7 + 0.05 * share, message))
    return sensitivity(
        simulated,
        job.module,
        job.data.evaluation,
        lambda done, of: say(0.75 + 0.15 * done / of, f"rounding layers one at a time: run {done} of {of}"),
    )


def figures_of(job: Job, scripted: torch.jit.ScriptModule, *, warnings: Sequence[str], **parts: Any) -> Report:
    """The report with these `parts`, and what all reports have: `scripted` beside fp32, judged by the gates."""
    found = _sensitivity(job)
    job.stages.at("measure", 0.9, "comparing both models")
    comparison = compare(
        job.module,
        scripted,
        job.data.evaluation,
        lambda done, of: job.stages.at("measure", 0.9 + 0.1 * done / of, f"comparing sample {done} of {of}"),
    )
    accuracy, fidelity = comparison.accuracy(), comparison.fidelity(job.data.evaluated_on)
    gates = judge(job.recipe.gates, accuracy, fidelity, parts["latency"])
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
        accuracy=accuracy,
        fidelity=fidelity,
        gates=gates,
        verdict="fails" if any(gate.passed is False for gate in gates) else "passes",
        warnings=(*job.program.spec.notes, *job.data.warnings, *warnings, *_warnings(job), *not_judged(gates)),
        seconds=dict(job.stages.seconds),
        sensitivity=found,
        **parts,
    )


def _layers(job: Job, quantized: Quantized) -> tuple[LayerFacts, ...]:
    job.stages.at("measure", 0.0, "measuring each layer")
    return layer_facts(
        job.program.spec,
        quantized,
        job.recipe,
        job.data.evaluation,
        on_wait=lambda: job.stages.say("waiting for another measurement on this machine"),
    )


def _latency(job: Job, quantized: Quantized) -> tuple[Latency, ...]:
    """One figure for each batch size of the recipe, or for the only one that the model takes."""
    fixed = job.data.evaluation.fixed_batch
    sizes = (fixed,) if fixed else job.recipe.measure.batch_sizes
    return tuple(_latency_at(size, 0.3 + 0.4 * place / len(sizes), job, quantized) for place, size in enumerate(sizes))


def _latency_at(size: int, share: float, job: Job, quantized: Quantized) -> Latency:
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


def _model_facts(program: Program) -> ModelFacts:
    spec = program.spec
    return ModelFacts(sha256=program.sha256, parameters=spec.parameters, torch_version=spec.torch_version)


def _engine_facts(recipe: Recipe) -> EngineFacts:
    engine, reduced = ENGINES[recipe.engine], reduces_range(recipe)
    return EngineFacts(
        name=engine.name,
        reduce_range=reduced,
        cpu_flags=engine.flags_for(reduced=reduced),
        native=engine.native,
    )


def _representative(recipe: Recipe) -> bool:
    engine = _engine_facts(recipe)
    return engine.native and not missing_cpu_flags(engine.cpu_flags)


def _warnings(job: Job) -> tuple[str, ...]:
    """What the reader of the figures must know about how they were taken."""
    engine, fixed = ENGINES[job.recipe.engine], job.data.evaluation.fixed_batch
    warnings = []
    if not engine.native:
        warnings.append(f"{engine.name} is made for {engine.summary}: latencies taken on this CPU do not carry over.")
    warnings += [
        f"This CPU has no {flag}: {engine.name} runs here, but not as fast as where it should."
        for flag in missing_cpu_flags(_engine_facts(job.recipe).cpu_flags)
    ]
    if fixed and job.recipe.measure.batch_sizes != (fixed,):
        warnings.append(f"The model was exported with a fixed batch of {fixed}: it was timed with no other.")
    if fixed and any(isinstance(size, str) for tensor in job.program.inputs for size in tensor.shape[1:]):
        warnings.append(
            f"The first dimension, fixed at {fixed}, was taken for the batch, and another may vary: "
            "if that one is the batch, export the model with the batch first."
        )
    return tuple(warnings)

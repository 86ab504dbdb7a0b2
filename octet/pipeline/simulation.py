"""`method: simulate`: a model whose rounding is faked, for formats that have no kernels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from octet import torchscript
from octet.pipeline.reporting import figures_of
from octet.pipeline.result import Result
from octet.report import LayerFacts, Size

if TYPE_CHECKING:
    from octet.pipeline.job import Job
    from octet.quantization import Simulated
    from octet.report import SimulatedTensor
    from octet.spec import Layer, ProgramSpec


def simulation(job: Job) -> Result:
    """The model of `job` with its rounding simulated: nothing is timed, and its size is computed."""
    simulated = job.simulated(job.stages.at)
    job.stages.at("convert", 0.0, "compiling")
    scripted = torchscript.as_saved(torchscript.script(simulated.module))
    report = figures_of(
        job,
        scripted,
        warnings=simulated.warnings,
        latency=(),
        size=_size(job, simulated),
        layers=_layers(job.program.spec, simulated),
        simulated=simulated.tensors,
        repairs=simulated.repairs,
    )
    return Result.of(job, simulated.module, scripted, report)


def _size(job: Job, simulated: Simulated) -> Size:
    """The file of fp32, with its parameters packed to the bits they are rounded to."""
    fp32 = torchscript.saved_bytes(torchscript.as_saved(job.scripted))
    packed = fp32 - sum(parameter.nbytes for parameter in job.module.parameters()) + simulated.parameter_bytes
    return Size(fp32=fp32, int8=packed, ratio=fp32 / packed)


def _layers(spec: ProgramSpec, simulated: Simulated) -> tuple[LayerFacts, ...]:
    """One entry per layer that holds weights, in the order of `spec`."""
    weights = {tensor.layer: tensor for tensor in simulated.tensors if tensor.kind == "weight"}
    return tuple(
        _facts(layer, weights.get(layer.name), rounded=simulated.folded.get(layer.name, layer.name) in simulated.layers)
        for layer in spec.layers
        if layer.parameters
    )


def _facts(layer: Layer, weight: SimulatedTensor | None, *, rounded: bool) -> LayerFacts:
    error = weight.relative_error if weight is not None else 0.0
    return LayerFacts(
        name=layer.name,
        type=layer.type,
        method="simulated" if rounded else "float",
        reason=None if rounded else "the recipe says so, or it multiplies by no weights",
        parameters=layer.parameters,
        bits=weight.bits if weight is not None else None,
        weight_sqnr_db=-20 * math.log10(error) if error else None,
    )

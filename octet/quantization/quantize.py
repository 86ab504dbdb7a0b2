"""A float graph in, an int8 graph out."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from octet import torchscript
from octet.kernels import WEIGHTED
from octet.quantization.allocator import keeping_freed_memory
from octet.quantization.calibrate import calibrate
from octet.quantization.converted import has_int8
from octet.quantization.fallback import ConversionError, mirror, observe, realize, settle
from octet.quantization.fusions import fusions_of, lone_norms_of
from octet.quantization.plan import Plan, Unit, plan_layers
from octet.quantization.qconfigs import QConfigs
from octet.quantization.repairs import Repairing, Rounding, add_to_bias, in_source
from octet.quantization.rewrite import rewrite
from octet.quantization.shapes import input_ranks, shapes_of
from octet.quantization.training import UntrainableError, train

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor
    from torch.fx import GraphModule

    from octet.data.samples import Samples
    from octet.progress import Stage
    from octet.quantization.rewrite import Rewritten
    from octet.quantization.training import Checkpoint
    from octet.recipe import Recipe
    from octet.report import Epoch, Fusion, LoneNorm, Repair


MOST_ATTEMPTS = 3
"""Conversions of the calibrated model; each but the first leaves in float what the one before found wrong."""


@dataclass(frozen=True)
class Quantized:
    """What came of it.

    Attributes:
        int8: The int8 graph, eager, under the source's module paths.
        scripted: The same as TorchScript: what is timed and saved.
        rewritten: The float graph that was quantized, with what became of its batch norms; equalized, if it was.
        observed: What was converted: that graph with all repairs, trained if QAT trained it.
        plan: What was done with each layer, with the reasons of what stayed in float.
        epochs: Of QAT.
        repairs: What each repair did.
    """

    int8: GraphModule
    scripted: torch.jit.ScriptModule
    rewritten: Rewritten
    observed: GraphModule
    plan: Plan
    epochs: tuple[Epoch, ...]
    repairs: tuple[Repair, ...]

    @property
    def source(self) -> GraphModule:
        """The float graph that was quantized, with as many layers as `int8` has."""
        return self.rewritten.module

    @property
    def folded(self) -> dict[str, str]:
        """Batch norms that `source` has no more -> the layer that each became part of."""
        return self.rewritten.norms.homes

    @property
    def fusions(self) -> tuple[Fusion, ...]:
        """The layers and calls that became one kernel."""
        return fusions_of(self.rewritten, self.int8)

    @property
    def lone_norms(self) -> tuple[LoneNorm, ...]:
        """The batch norms that no layer could take in, with the reasons."""
        return lone_norms_of(self.rewritten)


@keeping_freed_memory()
def quantize_module(
    module: GraphModule,
    recipe: Recipe,
    *,
    inputs: tuple[Tensor, ...],
    calibration: Samples | None,
    training: Samples | None,
    checkpoint: Checkpoint | None = None,
    on_stage: Callable[[Stage, float, str], None],
) -> Quantized:
    """Quantizes `module` as `recipe` says; the engine must be set.

    Args:
        module: Float, in eval mode; left as it is.
        recipe: What to do.
        inputs: A small batch to try kernels with.
        calibration: Where activation ranges come from; None where the recipe needs none.
        training: What QAT trains on.
        checkpoint: Where QAT keeps its progress, and what it goes on from.
        on_stage: Gets the stage, the share of it that is done, and a line for people.

    What has no int8 kernel stays in float; where nothing has, the model comes back as it is, and the plan says why.

    Raises:
        InvalidModelError: If the float model cannot be compiled to TorchScript.
        QuantizationFailedError: If its training diverges.
    """
    shapes = shapes_of(module, inputs)
    rewritten = rewrite(module, recipe, shapes)
    plan = plan_layers(rewritten, recipe, input_ranks(rewritten.module, shapes))
    on_stage("prepare", 0.0, "inserting observers")
    repairing = Repairing(recipe, inputs, calibration)
    graph, repairs = repairing.equalized(rewritten.module)
    rewritten = replace(rewritten, module=graph)
    job = _Job(
        rewritten=rewritten,
        recipe=recipe,
        inputs=inputs,
        calibration=calibration,
        training=training,
        checkpoint=checkpoint,
        on_stage=on_stage,
        qconfigs=QConfigs(recipe),
        repairing=repairing,
        repairs=repairs,
    )
    if recipe.method == "qat":
        # Training is too dear to be lost to a missing kernel: look for those first.
        plan = job.settled(plan)
    for _ in range(MOST_ATTEMPTS):
        try:
            return _attempt(job, plan)
        except ConversionError as error:
            reason = str(error)
            settled = job.settled(plan.without(error.found))
        if settled == plan:
            break
        plan = settled
    # It fails with all of the data and not in rehearsal, so there is no telling where.
    return _float(job, plan.in_float(reason))


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The arguments of `quantize_module`, and what all attempts have in common."""

    rewritten: Rewritten
    recipe: Recipe
    inputs: tuple[Tensor, ...]
    calibration: Samples | None
    training: Samples | None
    checkpoint: Checkpoint | None
    on_stage: Callable[[Stage, float, str], None]
    qconfigs: QConfigs
    repairing: Repairing
    repairs: tuple[Repair, ...]

    @property
    def module(self) -> GraphModule:
        return self.rewritten.module

    def settled(self, plan: Plan) -> Plan:
        """`plan` with in float whatever has no int8 kernel that works."""
        self.on_stage("prepare", 0.5, "looking for int8 kernels that are missing")
        return settle(self.module, plan, self.qconfigs, self.recipe, self.inputs)


def _attempt(job: _Job, plan: Plan) -> Quantized:
    if plan.gave_up:
        return _float(job, plan)
    recipe = job.recipe
    clipped, clipping = job.repairing.clipped(job.module, _roundings(job, plan))
    observed = observe(clipped, plan, job.qconfigs, recipe, job.inputs)
    if job.calibration is not None:
        unreached = calibrate(
            observed,
            job.calibration,
            recipe.calibration.batch_size,
            lambda done, of: job.on_stage("calibrate", done / of, f"sample {done} of {of}"),
        )
        if unreached & set(plan.int8_units):
            return _attempt(job, _without_unreached(job, plan, unreached))
    correction = _correct_biases(job, observed, plan)
    if job.training is not None:
        # What fails with the ranges of all data must do so before the training. To try it moves the ranges: on a copy.
        realize(deepcopy(observed), recipe, job.inputs)
    epochs, plan = _trained(job, observed, plan)
    job.on_stage("convert", 0.0, "converting to int8")
    int8, scripted = realize(observed, recipe, job.inputs)
    job.on_stage("convert", 1.0, "converted")
    if not has_int8(int8):
        plan = plan.noting("Nothing was quantized: the report gives the reason for each layer.")
    repairs = in_source((*job.repairs, *clipping, *correction), job.rewritten.sources)
    return Quantized(int8, torchscript.as_saved(scripted), job.rewritten, observed, plan, epochs, repairs)


def _without_unreached(job: _Job, plan: Plan, unreached: frozenset[Unit]) -> Plan:
    """`plan` with in float what calibration data never reaches, and a note that names the layers."""
    sources = job.rewritten.sources
    names = dict.fromkeys(repr(sources.get(unit, unit)) for unit in plan.int8_layers if unit in unreached)
    left = plan.without(dict.fromkeys(unreached, "calibration data never reaches it"))
    if not names:
        return left
    return left.noting(f"Calibration data never reaches {', '.join(names)}: left in float, for want of a range.")


def _roundings(job: _Job, plan: Plan) -> dict[str, Rounding]:
    """How kernels round the weight of each layer that has one."""
    configs = {
        path: job.qconfigs.weight_of(layer)
        for path, layer in plan.layers.items()
        if layer.method != "float" and layer.module_type.__name__ in WEIGHTED
    }
    return {
        path: Rounding(config.rounded, per_channel=config.section.granularity == "per_channel")
        for path, config in configs.items()
    }


def _correct_biases(job: _Job, observed: GraphModule, plan: Plan) -> tuple[Repair, ...]:
    """Corrects the biases of `observed` once it is calibrated."""
    shifts, repairs = job.repairing.corrected(lambda: mirror(observed, job.recipe), job.module, _roundings(job, plan))
    for path, shift in shifts.items():
        add_to_bias(observed.get_submodule(path), shift)
    return repairs


def _trained(job: _Job, observed: GraphModule, plan: Plan) -> tuple[tuple[Epoch, ...], Plan]:
    """The epochs of QAT, and `plan` with a note where the model cannot be trained: its ranges are calibrated then."""
    if job.training is None:
        return (), plan
    try:
        trained = train(
            observed,
            job.module,
            job.training,
            job.recipe.training,
            checkpoint=job.checkpoint,
            on_progress=partial(job.on_stage, "train"),
        )
    except UntrainableError as error:
        return (), plan.noting(f"Nothing was trained, ranges were only calibrated: {error}.")
    for note in trained.notes:
        plan = plan.noting(note)
    return trained.epochs, plan


def _float(job: _Job, plan: Plan) -> Quantized:
    """The float model, for where there is nothing to quantize."""
    module = job.module.eval()
    repairs = in_source(job.repairs, job.rewritten.sources)
    return Quantized(module, torchscript.as_saved(torchscript.script(module)), job.rewritten, module, plan, (), repairs)

"""A float graph in, an int8 graph out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from octet.errors import QuantizationFailedError
from octet.quantization.calibrate import calibrate
from octet.quantization.fallback import ConversionError, observe, realize, settle
from octet.quantization.plan import Plan, plan_layers
from octet.quantization.qconfigs import QConfigs
from octet.quantization.rewrite import rewrite
from octet.quantization.train import train

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor
    from torch.fx import GraphModule

    from octet.data.samples import Samples
    from octet.progress import Stage
    from octet.recipe import Recipe
    from octet.report import Epoch


@dataclass(frozen=True)
class Quantized:
    """What came of it.

    Attributes:
        int8: The int8 graph, eager, under the source's module paths.
        scripted: The same as TorchScript: what is timed and saved.
        source: The float graph that was quantized, with as many layers as `int8` has.
        observed: What was converted: `source` with its batch norms folded, and trained if QAT trained it.
        plan: What was done with each layer, with the reasons of what stayed in float.
        epochs: Of QAT.
    """

    int8: GraphModule
    scripted: torch.jit.ScriptModule
    source: GraphModule
    observed: GraphModule
    plan: Plan
    epochs: tuple[Epoch, ...]


def quantize_module(
    module: GraphModule,
    recipe: Recipe,
    *,
    inputs: tuple[Tensor, ...],
    calibration: Samples | None,
    training: Samples | None,
    on_stage: Callable[[Stage, float, str], None],
) -> Quantized:
    """Quantizes `module` as `recipe` says; the engine must be set.

    Args:
        module: Float, in eval mode; left as it is.
        recipe: What to do.
        inputs: A small batch to try kernels with.
        calibration: Where activation ranges come from; None where the recipe needs none.
        training: What QAT trains on.
        on_stage: Gets the stage, the share of it that is done, and a line for people.

    Raises:
        QuantizationFailedError: If it cannot be done, not even with layers left in float.
    """
    rewritten = rewrite(module, recipe)
    module = rewritten.module
    job = _Job(module, recipe, inputs, calibration, training, on_stage, QConfigs(recipe))
    plan = plan_layers(rewritten, recipe)
    on_stage("prepare", 0.0, "inserting observers")
    if recipe.method == "qat":
        # Training is too dear to be lost to a missing kernel: look for those first.
        plan = settle(module, plan, job.qconfigs, recipe, inputs)
    try:
        return _attempt(job, plan)
    except ConversionError:
        plan = settle(module, plan, job.qconfigs, recipe, inputs)
    try:
        return _attempt(job, plan)
    except ConversionError as error:
        raise QuantizationFailedError(f"The model cannot be made int8: {error}.") from error


@dataclass(frozen=True)
class _Job:
    module: GraphModule
    recipe: Recipe
    inputs: tuple[Tensor, ...]
    calibration: Samples | None
    training: Samples | None
    on_stage: Callable[[Stage, float, str], None]
    qconfigs: QConfigs


def _attempt(job: _Job, plan: Plan) -> Quantized:
    recipe = job.recipe
    observed = observe(job.module, plan, job.qconfigs, recipe, job.inputs)
    if job.calibration is not None:
        calibrate(
            observed,
            job.calibration,
            recipe.calibration.batch_size,
            lambda done, of: job.on_stage("calibrate", done / of, f"sample {done} of {of}"),
        )
    epochs: tuple[Epoch, ...] = ()
    if job.training is not None:
        epochs = train(
            observed,
            job.module,
            job.training,
            recipe.training,
            lambda done, of, message: job.on_stage("train", done / of, message),
        )
    job.on_stage("convert", 0.0, "converting to int8")
    int8, scripted = realize(observed, recipe, job.inputs)
    job.on_stage("convert", 1.0, "converted")
    return Quantized(int8, scripted, job.module, observed, plan, epochs)

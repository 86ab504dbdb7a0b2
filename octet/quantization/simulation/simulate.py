"""A float graph in, the same graph out with the weights and the inputs of its layers rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.kernels import WEIGHTED
from octet.quantization.graph_mode import fuse
from octet.quantization.plan import plan_layers
from octet.quantization.repairs import Repairing, Rounding, in_source
from octet.quantization.rewrite import rewrite
from octet.quantization.shapes import input_ranks, shapes_of
from octet.quantization.simulation.builder import Builder
from octet.quantization.simulation.layers import treatments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor
    from torch.fx import GraphModule

    from octet.data.samples import Samples
    from octet.progress import Stage
    from octet.quantization.plan import Plan
    from octet.quantization.simulation.layers import Treatment
    from octet.quantization.simulation.simulated import Simulated
    from octet.recipe import Recipe


def simulate(
    module: GraphModule,
    recipe: Recipe,
    *,
    inputs: tuple[Tensor, ...],
    calibration: Samples | None,
    on_stage: Callable[[Stage, float, str], None],
) -> Simulated:
    """Rounds the weights and the inputs of the layers of `module` as `recipe` says, and computes in float.

    Batch norms are folded first, as they are for kernels, and the recipe's repairs are done. Under a method that has
    kernels, these are what is simulated: eight bits, or seven of an activation where they take seven; a range for each
    call under dynamic; the outputs of static layers too. What lies between layers is not rounded, so that the figures
    are somewhat better than those of int8, but for linear layers that give floats.

    Args:
        module: Float, in eval mode; left as it is.
        recipe: What to round, and how.
        inputs: A small batch.
        calibration: Where the ranges of activations come from, and what their errors are taken on: it is run twice.
            None where the recipe needs none: the errors of activations are left out then.
        on_stage: Gets the stage, the share of it that is done, and a line for people.
    """
    on_stage("prepare", 0.0, "rounding weights")
    shapes = shapes_of(module, inputs)
    rewritten = rewrite(module, recipe, shapes)
    plan = plan_layers(rewritten, recipe, input_ranks(rewritten.module, shapes))
    wanted = treatments(rewritten, plan, recipe)
    repairing, roundings = Repairing(recipe, inputs, calibration), _roundings(wanted, plan)
    equalized, equalization = repairing.equalized(rewritten.module)
    clipped, clipping = repairing.clipped(equalized, roundings)
    unclipped = {path: equalized.get_parameter(f"{path}.weight") for repair in clipping for path in repair.layers}
    # Other engines also fuse convolutions with additions, of which TorchScript takes no float form.
    builder = Builder(fuse(clipped, plan, recipe.model_copy(update={"engine": "x86"})))
    names = {path: rewritten.sources.get(path, path) for path in wanted}
    for node in list(builder.graph.graph.nodes):
        path = str(node.target)
        if node.op == "call_module" and path in wanted:
            builder.round(node, names[path], wanted[path], unclipped.get(path))
    builder.graph.recompile()
    if calibration is not None:
        builder.fit(calibration, recipe.calibration.batch_size, on_stage)
    correction = builder.correct(
        {path: names[path] for path in roundings},
        lambda graph: repairing.corrected(lambda: graph, equalized, roundings)[1],
    )
    repairs = in_source((*equalization, *clipping, *correction), rewritten.sources)
    return builder.simulated(plan.notes, repairs, rewritten.norms.homes)


def _roundings(wanted: Mapping[str, Treatment], plan: Plan) -> dict[str, Rounding]:
    """How the weight of each linear layer and convolution is rounded, for the repairs that look at it."""
    return {
        path: Rounding(treatment.rounded, per_channel=treatment.weights.section.granularity == "per_channel")
        for path, treatment in wanted.items()
        if treatment.weights is not None and plan.layers[path].module_type.__name__ in WEIGHTED
    }

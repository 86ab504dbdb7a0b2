"""A float graph in, the same graph out with the weights and the inputs of its layers rounded."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from octet.measure import Noise
from octet.quantization.calibrate import calibrate
from octet.quantization.converted import plain
from octet.quantization.graph_mode import fuse
from octet.quantization.plan import plan_layers
from octet.quantization.rewrite import rewrite
from octet.quantization.shapes import input_ranks, shapes_of
from octet.quantization.simulation.formats import Fitter
from octet.quantization.simulation.layers import treatments
from octet.quantization.simulation.roundings import Dynamic, Point
from octet.quantization.simulation.simulated import RoundedLayer, RoundedWeight, Simulated
from octet.report import SimulatedTensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.fx import GraphModule, Node

    from octet.data.samples import Samples
    from octet.progress import Stage
    from octet.quantization.simulation.formats import Format
    from octet.quantization.simulation.layers import Treatment
    from octet.recipe import Recipe

    OnStage = Callable[[Stage, float, str], None]

FLOAT_BYTES = 4


def simulate(
    module: GraphModule,
    recipe: Recipe,
    *,
    inputs: tuple[Tensor, ...],
    calibration: Samples | None,
    on_stage: Callable[[Stage, float, str], None],
) -> Simulated:
    """Rounds the weights and the inputs of the layers of `module` as `recipe` says, and computes in float.

    Batch norms are folded first, as they are for kernels. Under a method that has kernels, these are what is simulated:
    eight bits, or seven of an activation where the engine takes seven, and a range for each call under dynamic.

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
    # Other engines also fuse convolutions with additions, of which TorchScript takes no float form.
    builder = _Builder(fuse(rewritten.module, plan, recipe.model_copy(update={"engine": "x86"})))
    for node in list(builder.graph.graph.nodes):
        path = str(node.target)
        if node.op == "call_module" and path in wanted:
            builder.round(node, rewritten.sources.get(path, path), wanted[path])
    builder.graph.recompile()
    if calibration is not None:
        builder.fit(calibration, recipe.calibration.batch_size, on_stage)
    return builder.simulated(plan.warnings)


Kind = Literal["weight", "activation"]
KINDS: tuple[Kind, ...] = ("weight", "activation")


@dataclass(frozen=True)
class _Cost:
    """What rounding does to the weights or the inputs of a layer."""

    bits: int
    noise: Noise = field(default_factory=Noise)


class _Builder:
    """Puts roundings into a graph, and finds what they cost."""

    def __init__(self, graph: GraphModule) -> None:
        self.graph = graph
        self._layers: defaultdict[str, RoundedLayer] = defaultdict(RoundedLayer)
        self._points: dict[Point, str] = {}
        self._rounded: dict[tuple[int, Format], nn.Parameter] = {}
        self._costs: dict[tuple[str, Kind], _Cost] = {}
        self._bytes = float(sum(parameter.numel() * FLOAT_BYTES for parameter in graph.parameters()))
        self._warnings: dict[str, None] = {}

    def round(self, node: Node, name: str, treatment: Treatment) -> None:
        """Rounds what the layer that `node` calls has and what it gets; `name` is what the source calls it."""
        if treatment.weights is not None:
            layer = plain(self.graph.get_submodule(str(node.target)))
            for key in [key for key, _ in layer.named_parameters(recurse=False) if key.startswith("weight")]:
                exact = getattr(layer, key)
                rounded = self._round_weight(name, exact, treatment.weights, treatment.kind.weight_axis)
                self._layers[name].weights.append(RoundedWeight(layer, key, exact, rounded))
        if treatment.activation is not None and treatment.kind.input_axis is not None:
            self._insert_point(node, name, treatment.activation, treatment.kind.input_axis)

    def fit(self, samples: Samples, batch_size: int, on_stage: OnStage) -> None:
        """Finds the ranges of activations on `samples`, then the error of each."""
        for point in self._points:
            point.enabled = isinstance(point.rounding, Fitter)
        calibrate(self.graph, samples, batch_size, _told(on_stage, 0.0, "finding ranges"))
        for point, name in self._points.items():
            point.enabled = False
            if isinstance(point.rounding, Fitter):
                point.rounding = self._rounding(point.rounding, f"The input of {name!r}")
        handles = [point.register_forward_hook(self._weigh) for point in self._points]
        calibrate(self.graph, samples, batch_size, _told(on_stage, 0.5, "rounding activations"))
        for handle in handles:
            handle.remove()

    def simulated(self, warnings: tuple[str, ...]) -> Simulated:
        """The graph with all of it rounded."""
        for layer in self._layers.values():
            layer.switch(on=True)
        tensors = tuple(
            SimulatedTensor(
                layer=name, kind=kind, bits=cost.bits, relative_error=math.sqrt(cost.noise.error / cost.noise.signal)
            )
            for name in self._layers
            for kind in KINDS
            if (cost := self._costs.get((name, kind))) and 0 < cost.noise.signal < math.inf
        )
        size = math.ceil(self._bytes + sum(_bytes(point.rounding) for point in self._points))
        return Simulated(self.graph, tensors, (*warnings, *self._warnings), size, dict(self._layers))

    def _round_weight(self, name: str, exact: nn.Parameter, form: Format, axis: int | None) -> nn.Parameter:
        """What `exact` becomes; the same for every call, and every layer, that it is a weight of."""
        key = (id(exact), form)
        if key not in self._rounded:
            fitter = form.fitter(-exact.ndim if axis is None else axis)
            with torch.no_grad():
                fitter(exact)
                rounding = self._rounding(fitter, f"A weight of {name!r}")
                self._rounded[key] = nn.Parameter(rounding(exact), requires_grad=False)
            self._bytes += exact.numel() * (form.bits / 8 - FLOAT_BYTES) + _bytes(rounding)
        if all(weight.exact is not exact for weight in self._layers[name].weights):
            self._costs.setdefault((name, "weight"), _Cost(form.bits)).noise.add(exact, self._rounded[key])
        return self._rounded[key]

    def _insert_point(self, node: Node, name: str, activation: Format | Dynamic, axis: int) -> None:
        """Puts a point before the layer; until it is fitted, it looks at what passes."""
        point = Point(activation if isinstance(activation, Dynamic) else activation.fitter(axis))
        key = f"{node.name}_input_rounding"
        self.graph.add_submodule(key, point)
        with self.graph.graph.inserting_before(node):
            node.update_arg(0, self.graph.graph.call_module(key, (node.args[0],)))
        self._points[point] = name
        self._costs.setdefault((name, "activation"), _Cost(activation.bits))
        self._layers[name].points.append(point)

    def _rounding(self, fitter: Fitter, what: str) -> nn.Module:
        """The rounding that was fitted; what has no range passes as it is."""
        if fitter.trouble is None:
            return fitter.rounding()
        self._warnings[f"{what} was not rounded: {fitter.trouble}."] = None
        return nn.Identity()

    def _weigh(self, point: Any, given: tuple[Tensor, ...], _: Tensor) -> None:
        """Adds what rounding makes of what the float model gives to a layer."""
        self._costs[self._points[point], "activation"].noise.add(given[0], point.rounding(given[0]))


def _told(on_stage: OnStage, start: float, what: str) -> Callable[[int, int], None]:
    """Tells a pass over the calibration samples, one of two, as part of the stage."""
    return lambda done, of: on_stage("calibrate", start + 0.5 * done / of, f"{what}: sample {done} of {of}")


def _bytes(rounding: nn.Module) -> int:
    """What scales, or a codebook, take."""
    return sum(tensor.numel() * FLOAT_BYTES for tensor in rounding.state_dict().values())

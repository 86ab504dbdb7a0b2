"""Puts roundings into a graph, layer by layer, and finds what they cost."""

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
from octet.quantization.simulation.formats import Fitter
from octet.quantization.simulation.roundings import Dynamic, Point
from octet.quantization.simulation.simulated import RoundedLayer, RoundedParameter, Simulated
from octet.report import SimulatedTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor
    from torch.fx import GraphModule, Node

    from octet.data.samples import Samples
    from octet.progress import Stage
    from octet.quantization.simulation.formats import Format
    from octet.quantization.simulation.layers import Treatment
    from octet.report import Repair

    OnStage = Callable[[Stage, float, str], None]

FLOAT_BYTES = 4

Kind = Literal["weight", "activation"]
KINDS: tuple[Kind, ...] = ("weight", "activation")


@dataclass(frozen=True)
class _Cost:
    """What rounding does to the weights or the inputs of a layer."""

    bits: int
    noise: Noise = field(default_factory=Noise)


class Builder:
    """Puts roundings into `graph`, which is changed, and finds what they cost."""

    def __init__(self, graph: GraphModule) -> None:
        self.graph = graph
        self._layers: defaultdict[str, RoundedLayer] = defaultdict(RoundedLayer)
        self._points: dict[Point, str] = {}
        self._weighed: dict[Point, Noise] = {}
        self._rounded: dict[tuple[int, Format], nn.Parameter] = {}
        self._costs: dict[tuple[str, Kind], _Cost] = {}
        self._bytes = float(sum(parameter.numel() * FLOAT_BYTES for parameter in graph.parameters()))
        self._warnings: dict[str, None] = {}

    def round(self, node: Node, name: str, treatment: Treatment, unclipped: nn.Parameter | None) -> None:
        """Rounds what a layer has and what it gets.

        Args:
            node: The call of it.
            name: What the source calls it.
            treatment: How.
            unclipped: The weight that it has in float, if it was clipped to be rounded.
        """
        if treatment.weights is not None:
            layer = plain(self.graph.get_submodule(str(node.target)))
            for key in [key for key, _ in layer.named_parameters(recurse=False) if key.startswith("weight")]:
                given = getattr(layer, key)
                rounded = self._rounded_weight(name, given, treatment, treatment.weights)
                self._keep(name, RoundedParameter(layer, key, given if unclipped is None else unclipped, rounded))
        if treatment.activation is not None and treatment.kind.input_axis is not None:
            self._round_input(node, name, treatment.activation, treatment.kind.input_axis)
            if treatment.output is not None:
                self._round_output(node, name, treatment.output, treatment.kind.input_axis)

    def fit(self, samples: Samples, batch_size: int, on_stage: OnStage) -> None:
        """Finds the ranges of activations on `samples`, then the error of each."""
        if not self._points:
            return
        for point in self._points:
            point.enabled = isinstance(point.rounding, Fitter)
        calibrate(self.graph, samples, batch_size, _told(on_stage, 0.0, "finding ranges"))
        for point, name in self._points.items():
            point.enabled = False
            if isinstance(point.rounding, Fitter):
                point.rounding = self._rounding(point.rounding, f"What {name!r} reads or gives")
        handles = [point.register_forward_hook(self._weigh) for point in self._weighed]
        calibrate(self.graph, samples, batch_size, _told(on_stage, 0.5, "rounding activations"))
        for handle in handles:
            handle.remove()

    def correct(
        self, names: Mapping[str, str], correct: Callable[[GraphModule], tuple[Repair, ...]]
    ) -> tuple[Repair, ...]:
        """Lets `correct` change biases of the graph with all of it rounded; they go with the rounding of their layers.

        Args:
            names: Path of each layer whose bias may be changed -> what the source calls it.
            correct: Changes them, and says what it did.
        """
        self._switch_on()
        layers = {path: plain(self.graph.get_submodule(path)) for path in names}
        before = {path: layer.bias for path, layer in layers.items()}
        repairs = correct(self.graph)
        for path, layer in layers.items():
            if layer.bias is not before[path]:
                corrected = RoundedParameter(layer, "bias", before[path], layer.bias)
                self._layers[names[path]].parameters.append(corrected)
        return repairs

    def simulated(self, warnings: tuple[str, ...], repairs: tuple[Repair, ...], folded: dict[str, str]) -> Simulated:
        """The graph with all of it rounded."""
        self._switch_on()
        tensors = tuple(
            SimulatedTensor(
                layer=name, kind=kind, bits=cost.bits, relative_error=math.sqrt(cost.noise.error / cost.noise.signal)
            )
            for name in self._layers
            for kind in KINDS
            if (cost := self._costs.get((name, kind))) and 0 < cost.noise.signal < math.inf
        )
        size = math.ceil(self._bytes + sum(_bytes(point.rounding) for point in self._points))
        return Simulated(self.graph, tensors, (*warnings, *self._warnings), repairs, folded, size, dict(self._layers))

    def _switch_on(self) -> None:
        for layer in self._layers.values():
            layer.switch(on=True)

    def _rounded_weight(self, name: str, weight: nn.Parameter, treatment: Treatment, form: Format) -> nn.Parameter:
        """What `weight` becomes; the same for every call, and every layer, that it is a weight of."""
        key = (id(weight), form)
        self._costs.setdefault((name, "weight"), _Cost(form.bits))
        if key not in self._rounded:
            with torch.no_grad():
                rounding = self._rounding(treatment.fitted(weight), f"A weight of {name!r}")
                self._rounded[key] = nn.Parameter(rounding(weight), requires_grad=False)
            self._bytes += weight.numel() * (form.bits / 8 - FLOAT_BYTES) + _bytes(rounding)
        return self._rounded[key]

    def _keep(self, name: str, weight: RoundedParameter) -> None:
        """Makes `weight` one of the layer `name`; those of further calls are the same, and weigh nothing."""
        kept = self._layers[name].parameters
        if weight.exact is not None and all(other.exact is not weight.exact for other in kept):
            self._costs[name, "weight"].noise.add(weight.exact, weight.rounded)
        kept.append(weight)

    def _round_input(self, node: Node, name: str, activation: Format | Dynamic, axis: int) -> None:
        point = Point(activation if isinstance(activation, Dynamic) else activation.fitter(axis))
        with self.graph.graph.inserting_before(node):
            node.update_arg(0, self._call(point, f"{node.name}_input_rounding", node.args[0], name))
        self._weighed[point] = self._costs.setdefault((name, "activation"), _Cost(activation.bits)).noise

    def _round_output(self, node: Node, name: str, form: Format, axis: int) -> None:
        with self.graph.graph.inserting_after(node):
            rounded = self._call(Point(form.fitter(axis)), f"{node.name}_output_rounding", node, name)
        node.replace_all_uses_with(rounded, delete_user_cb=lambda user: user is not rounded)

    def _call(self, point: Point, key: str, value: Any, name: str) -> Node:
        """A call of `point`, which is part of the layer `name`; until it is fitted, it looks at what passes."""
        self.graph.add_submodule(key, point)
        self._points[point] = name
        self._layers[name].points.append(point)
        return self.graph.graph.call_module(key, (value,))

    def _rounding(self, fitter: Fitter, what: str) -> nn.Module:
        """The rounding that was fitted; what has no range passes as it is."""
        if fitter.trouble is None:
            return fitter.rounding()
        self._warnings[f"{what} was not rounded: {fitter.trouble}."] = None
        return nn.Identity()

    def _weigh(self, point: Any, given: tuple[Tensor, ...], _: Tensor) -> None:
        """Adds what rounding makes of what the float model gives to a layer."""
        self._weighed[point].add(given[0], point.rounding(given[0]))


def _told(on_stage: OnStage, start: float, what: str) -> Callable[[int, int], None]:
    """Tells a pass over the calibration samples, one of two, as part of the stage."""
    return lambda done, of: on_stage("calibrate", start + 0.5 * done / of, f"{what}: sample {done} of {of}")


def _bytes(rounding: nn.Module) -> int:
    """What scales, or a codebook, take."""
    return sum(tensor.numel() * FLOAT_BYTES for tensor in rounding.state_dict().values())

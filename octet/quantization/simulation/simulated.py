"""A graph whose rounding can be switched, layer by layer."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn
    from torch.fx import GraphModule

    from octet.quantization.simulation.roundings import Point
    from octet.report import Repair, SimulatedTensor


@dataclass(frozen=True)
class RoundedParameter:
    """A weight of a layer and what it is rounded to, or a bias and what it is where its layer is rounded."""

    layer: nn.Module
    name: str
    exact: nn.Parameter | None
    rounded: nn.Parameter


@dataclass
class RoundedLayer:
    """All that is rounded of a layer of the source, over all its calls."""

    parameters: list[RoundedParameter] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def switch(self, *, on: bool) -> None:
        """Rounds it, or leaves it as it was."""
        for parameter in self.parameters:
            setattr(parameter.layer, parameter.name, parameter.rounded if on else parameter.exact)
        for point in self.points:
            point.enabled = on


@dataclass(frozen=True)
class Simulated:
    """A float graph with layers that are rounded.

    Attributes:
        module: Runs in float, and TorchScript takes it. All of its layers are rounded, but inside `only`.
        tensors: The error of each weight and of each layer's input; the input is that of the float model.
        warnings: What in the recipe did not apply.
        repairs: What each repair did before.
        folded: Batch norms that `module` has no more -> the layer that each became part of.
        parameter_bytes: What the parameters would take, the rounded ones packed to their bits with their scales.
    """

    module: GraphModule
    tensors: tuple[SimulatedTensor, ...]
    warnings: tuple[str, ...]
    repairs: tuple[Repair, ...]
    folded: dict[str, str]
    parameter_bytes: int
    _layers: dict[str, RoundedLayer] = field(repr=False)

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths in the source of the layers that are rounded, in the order they are called."""
        return tuple(self._layers)

    @contextmanager
    def only(self, layers: Iterable[str]) -> Iterator[GraphModule]:
        """`module` with just these layers rounded and all others as they were, while the block runs."""
        wanted = set(layers)
        try:
            for name, layer in self._layers.items():
                layer.switch(on=name in wanted)
            yield self.module
        finally:
            for layer in self._layers.values():
                layer.switch(on=True)

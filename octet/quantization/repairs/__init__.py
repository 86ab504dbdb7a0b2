"""What is done to a float model so that it takes to eight bits better: one switch of the recipe for each repair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from octet.quantization.repairs.bias_correction import add_to_bias, bias_shifts
from octet.quantization.repairs.equalization import equalize
from octet.quantization.repairs.weight_clipping import Rounding, clip_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from torch import Tensor
    from torch.fx import GraphModule

    from octet.data.samples import Samples
    from octet.recipe import Recipe
    from octet.report import Repair

__all__ = ["Repairing", "Rounding", "add_to_bias", "bias_shifts", "clip_weights", "equalize", "in_source"]


@dataclass(frozen=True)
class Repairing:
    """The repairs that a recipe asks for, each to be done in its turn: what is not asked for changes nothing.

    Attributes:
        recipe: What asks for them.
        inputs: A small batch.
        samples: The calibration data, if there is any.
    """

    recipe: Recipe
    inputs: tuple[Tensor, ...]
    samples: Samples | None

    def equalized(self, module: GraphModule) -> tuple[GraphModule, tuple[Repair, ...]]:
        """The float graph with even channels; it computes the same."""
        if not self.recipe.repairs.equalize:
            return module, ()
        graph, repair = equalize(module, self.inputs, self.samples, self._batch_size)
        return graph, (repair,)

    def clipped(self, module: GraphModule, roundings: Mapping[str, Rounding]) -> tuple[GraphModule, tuple[Repair, ...]]:
        """The float graph without the outliers among the weights that will be rounded."""
        if not self.recipe.repairs.clip_weights:
            return module, ()
        graph, repair = clip_weights(module, roundings, self.samples, self._batch_size)
        return graph, (repair,)

    def corrected(
        self, simulated: Callable[[], GraphModule], exact: GraphModule, layers: Collection[str]
    ) -> tuple[dict[str, Tensor], tuple[Repair, ...]]:
        """What has to be added to the biases of `layers`, by path.

        Args:
            simulated: Makes a graph that computes with rounded values, in floats; its biases are corrected.
            exact: The float graph that it is made from.
            layers: Paths of the layers that are rounded.
        """
        if not self.recipe.repairs.correct_bias or self.samples is None:
            return {}, ()
        shifts, repair = bias_shifts(simulated(), exact, layers, self.samples, self._batch_size)
        return shifts, (repair,)

    @property
    def _batch_size(self) -> int:
        return self.recipe.calibration.batch_size


def in_source(repairs: tuple[Repair, ...], sources: Mapping[str, str]) -> tuple[Repair, ...]:
    """`repairs` with a further call of a layer under the name that its author gave the layer."""
    return tuple(
        repair.model_copy(update={"layers": tuple(dict.fromkeys(sources.get(path, path) for path in repair.layers))})
        for repair in repairs
    )

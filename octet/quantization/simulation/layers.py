"""Which layers can be rounded, where their channels are, and how a recipe rounds each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from octet.kernels import KERNEL_BITS, LOOK_UPS, WEIGHTED
from octet.quantization.simulation.formats import activation_format, reduced, weight_format
from octet.quantization.simulation.roundings import Dynamic
from octet.rules import rule_of

if TYPE_CHECKING:
    from torch import Tensor

    from octet.quantization.plan import LayerPlan, Plan
    from octet.quantization.rewrite import Rewritten
    from octet.quantization.simulation.formats import Fitter, Format
    from octet.recipe import LayerRule, Recipe


@dataclass(frozen=True)
class Kind:
    """Where a type of layer has its channels, counted from the end.

    Attributes:
        weight_axis: Of its weights, output channels; None: the first.
        input_axis: Of its input; None: that is no activation.
    """

    weight_axis: int | None
    input_axis: int | None


KINDS: dict[str, Kind] = {
    "Linear": Kind(None, -1),
    **{f"Conv{dims}d": Kind(None, -dims - 1) for dims in (1, 2, 3)},
    **{f"ConvTranspose{dims}d": Kind(-dims - 1, -dims - 1) for dims in (1, 2, 3)},
    **dict.fromkeys(("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"), Kind(None, -1)),
    **dict.fromkeys(LOOK_UPS, Kind(None, None)),
}
"""Types that can be rounded, by name. The states of recurrent layers stay as they are."""


@dataclass(frozen=True)
class Treatment:
    """What is to be rounded of one layer.

    Attributes:
        kind: Where its channels are.
        weights: The format of its weights; None: they stay as they are.
        activation: The format of its input, or a range for every call; None: it stays as it is.
        output: The format of its output, where a kernel gives it so; None: it stays as it is.
    """

    kind: Kind
    weights: Format | None
    activation: Format | Dynamic | None
    output: Format | None = None

    def fitted(self, weight: Tensor) -> Fitter:
        """What has looked at a weight of the layer, which has a format, and gives its rounding."""
        assert self.weights is not None  # noqa: S101 -- see above
        axis = self.kind.weight_axis
        fitter = self.weights.fitter(-weight.ndim if axis is None else axis)
        fitter(weight)
        return fitter

    def rounded(self, weight: Tensor) -> Tensor:
        """A finite weight of the layer, which has a format, after rounding."""
        rounded: Tensor = self.fitted(weight).rounding()(weight)
        return rounded


def treatments(rewritten: Rewritten, plan: Plan, recipe: Recipe) -> dict[str, Treatment]:
    """What `recipe` rounds of each layer, by path in the order of calls; `plan` is the one for kernels."""
    found: dict[str, Treatment | None] = {}
    for path, layer in plan.layers.items():
        name, kind = rewritten.sources.get(path, path), layer.module_type.__name__
        if kind in KINDS and recipe.method == "simulate":
            found[path] = _simulated(KINDS[kind], rule_of(name, kind, recipe), recipe)
        elif kind in KINDS:
            found[path] = _like_kernels(KINDS[kind], layer, recipe)
    return {path: treatment for path, treatment in found.items() if treatment is not None}


def _simulated(kind: Kind, rule: LayerRule | None, recipe: Recipe) -> Treatment | None:
    """Every layer that has weights, whether or not it has a kernel."""
    if rule is not None and rule.method == "float":
        return None
    weight_bits, bits = (rule and rule.bits) or recipe.weights.bits, recipe.activations.bits
    return Treatment(
        kind,
        weight_format(recipe, weight_bits) if weight_bits else None,
        activation_format(recipe, bits) if bits and kind.input_axis is not None else None,
    )


def _like_kernels(kind: Kind, layer: LayerPlan, recipe: Recipe) -> Treatment | None:
    """Every layer that has a kernel, as the kernel takes it."""
    if layer.method == "float":
        return None
    weights = weight_format(recipe, layer.bits)
    if kind.weight_axis is not None:  # those of transposed convolutions take one scale
        weights = weights.but(granularity="per_tensor")
    if kind.input_axis is None:  # those of look-ups take an offset for each row
        return Treatment(kind, weights.but(granularity="per_channel", scheme="affine", observer="minmax"), None)
    if layer.method == "dynamic":
        return Treatment(kind, weights, Dynamic(_dynamic_bits(layer, recipe)))
    activation = activation_format(recipe, KERNEL_BITS)
    return Treatment(kind, weights, activation, activation if layer.module_type.__name__ in WEIGHTED else None)


def _dynamic_bits(layer: LayerPlan, recipe: Recipe) -> int:
    """Of what a dynamic kernel takes. torch keeps single cells to seven, to which QNNPACK does not listen."""
    if recipe.engine == "qnnpack":
        return KERNEL_BITS
    return KERNEL_BITS - 1 if layer.module_type.__name__.endswith("Cell") else reduced(KERNEL_BITS, recipe)

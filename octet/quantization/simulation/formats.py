"""Formats of tensors, and what looks at a tensor's values to fit the format to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from octet.kernels import KERNEL_BITS
from octet.quantization.engine import reduces_range
from octet.quantization.qconfigs import TensorConfig
from octet.quantization.simulation.codebooks import codebooks
from octet.quantization.simulation.roundings import Codebook, PowersOfTwo, Uniform

if TYPE_CHECKING:
    from octet.recipe import Activations, Recipe, Weights
    from octet.recipe.sections import Levels

VALUES_OF_A_BATCH = 2**14
"""Values of an activation, over all channels, that one batch adds to what a codebook is fitted to."""
MOST_VALUES = 2**20
"""Most that are kept; beyond that, every other one goes."""

_UNSEEN = "no values of it were seen"


@dataclass(frozen=True)
class Format:
    """How one tensor is rounded.

    Attributes:
        bits: It takes at most 2**bits values.
        section: Which values, and how their range is found.
        sampled: Whether a codebook is fitted to a sample of the values that are seen, not to all.
    """

    bits: int
    section: Weights | Activations
    sampled: bool

    def fitter(self, axis: int) -> Fitter:
        """What looks at tensors with channels at `axis`, counted from the end, and then gives their rounding."""
        return FITTERS[self.section.levels](self, axis if self.section.granularity == "per_channel" else None)

    def but(self, **keys: Any) -> Format:
        """The same with other keys in its section."""
        return replace(self, section=self.section.model_copy(update=keys))

    @property
    def config(self) -> TensorConfig:
        """How its range is found; torch's wide integers hold any number of bits."""
        return TensorConfig(self.section, torch.qint32, -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)


def weight_format(recipe: Recipe, bits: int) -> Format:
    """How `recipe` rounds weights to `bits` bits."""
    return Format(bits, recipe.weights, sampled=False)


def activation_format(recipe: Recipe, bits: int) -> Format:
    """How `recipe` rounds activations to `bits` bits."""
    return Format(reduced(bits, recipe), recipe.activations, sampled=True)


def reduced(bits: int, recipe: Recipe) -> int:
    """Seven of eight bits where kernels take seven; what has no kernels takes all, unless the recipe says so."""
    reduce = recipe.activations.reduce_range is True if recipe.method == "simulate" else reduces_range(recipe)
    return bits - (reduce and bits == KERNEL_BITS)


class Fitter(nn.Module):
    """Looks at every tensor that it is given, and gives it back.

    Attributes:
        trouble: Why there is no range, if there is none.
    """

    def __init__(self, form: Format, axis: int | None) -> None:
        super().__init__()
        self.form = form
        self.axis = axis
        self.trouble: str | None = _UNSEEN

    def forward(self, x: Tensor) -> Tensor:
        """Looks at `x`, of any shape that has the axis."""
        values = x.detach()
        if not values.isfinite().all():
            self.trouble = "not all of it is finite"
        elif values.numel():
            self.trouble = None if self.trouble == _UNSEEN else self.trouble
            self.look_at(values.reshape(1, -1) if self.axis is None else values.movedim(self.axis, 0).flatten(1))
        return x

    def look_at(self, rows: Tensor) -> None:
        """Looks at values of shape [channels, values]."""
        raise NotImplementedError

    def rounding(self) -> nn.Module:
        """The rounding of tensors like those that were seen."""
        raise NotImplementedError

    def broadcast(self, figures: Tensor) -> Tensor:
        """One figure for each channel, in the shape that broadcasts over a tensor."""
        return figures.reshape(()) if self.axis is None else figures.reshape(-1, *[1] * (-self.axis - 1))


class RangeFitter(Fitter):
    """For evenly spaced values, over the range that the recipe's observer finds."""

    def __init__(self, form: Format, axis: int | None) -> None:
        super().__init__(form, axis)
        self.observer = form.config.factory()()

    def look_at(self, rows: Tensor) -> None:
        """Shows them to the observer."""
        self.observer(rows)

    def rounding(self) -> nn.Module:
        """To whole steps of the scale."""
        scale, zero_point = (self.broadcast(figures) for figures in self.observer.calculate_qparams())
        return Uniform(scale, zero_point, self.form.config.quant_min, self.form.config.quant_max)


class PowersOfTwoFitter(RangeFitter):
    """For powers of two, the largest of which is the end of the range."""

    def __init__(self, form: Format, axis: int | None) -> None:
        # The largest value becomes the power of two here, not the step between values.
        super().__init__(form.but(scheme="symmetric", power_of_two=False), axis)
        self.power_of_two = form.section.power_of_two

    def rounding(self) -> nn.Module:
        """To powers of two of the range's end."""
        scale, _ = self.observer.calculate_qparams()
        largest = scale * (self.form.config.quant_max - self.form.config.quant_min) / 2
        if self.power_of_two:
            largest = torch.exp2(torch.ceil(torch.log2(largest)))
        # One bit is the sign; of the codes that are left, one is zero.
        return PowersOfTwo(self.broadcast(largest), 2 ** (self.form.bits - 1) - 1)


class CodebookFitter(Fitter):
    """Keeps the values, or a sample of them with the extremes of every batch."""

    def __init__(self, form: Format, axis: int | None) -> None:
        super().__init__(form, axis)
        self.kept: list[Tensor] = []
        self.generator = torch.Generator().manual_seed(0)

    def look_at(self, rows: Tensor) -> None:
        """Keeps them, or some of them."""
        self.kept.append(self._sample(rows.float()) if self.form.sampled else rows.float())
        if self.form.sampled and sum(part.numel() for part in self.kept) > MOST_VALUES:
            self.kept = [torch.cat(self.kept, dim=1)[:, ::2]]

    def _sample(self, rows: Tensor) -> Tensor:
        wanted = max(1, VALUES_OF_A_BATCH // len(rows))
        if rows.size(1) <= wanted:
            return rows
        chosen = torch.randint(rows.size(1), (wanted,), generator=self.generator)
        return torch.cat([rows[:, chosen], rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)], dim=1)

    def rounding(self) -> nn.Module:
        """To the values of codebooks that are fitted to what was kept."""
        return Codebook(codebooks(torch.cat(self.kept, dim=1), 2**self.form.bits), self.axis)


FITTERS: dict[Levels, type[Fitter]] = {
    "uniform": RangeFitter,
    "power_of_two": PowersOfTwoFitter,
    "codebook": CodebookFitter,
}

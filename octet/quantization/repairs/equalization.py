"""Cross-layer equalization: the channels between layers are scaled to one range, and the float model stays the same.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv 1906.04721), section 4.1:
what lies between two layers lets a positive scale through, so a channel can be divided by s where it is made and
multiplied by s where it is read. s = sqrt(r1 / r2) gives both weights the same range there (equation 11). Theirs are
pairs of layers; here any number of layers may make and read a channel, and r1 and r2 are the largest of their ranges.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.fx import GraphModule, Interpreter

from octet.quantization.repairs.channels import channels_of
from octet.quantization.repairs.classes import FIXED
from octet.quantization.repairs.rows import from_rows, to_rows
from octet.report import Repair
from octet.state import kept

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Node

    from octet.data.samples import Samples
    from octet.quantization.repairs.channels import Bound, Channels, Site

MOST_SWEEPS = 100
SETTLED = 0.01
"""Largest change of the logarithm of a scale in the last sweep."""
HEADROOM = 1.25
"""How much further than on calibration data a channel can go before it meets a clamp that it met nowhere there."""


def equalize(
    module: GraphModule, inputs: tuple[Tensor, ...], samples: Samples | None, batch_size: int
) -> tuple[GraphModule, Repair]:
    """A graph that computes the same as `module`, with ranges of channels that are as even as they get.

    A ReLU6 or Hardtanh stays what it is: the paper makes it a ReLU, which changes the model. Channels that come near
    its bounds on calibration data keep their scale, and others stay clear of the bounds.

    Args:
        module: Float, batch norms folded into the layers before them; left as it is.
        inputs: A small batch.
        samples: What clamps are watched on; None: channels that are clamped keep their scale.
        batch_size: How many samples are run at once.
    """
    channels = channels_of(module, inputs)
    least = _least_scales(channels, _reaches(module, channels.bounds, samples, batch_size))
    weights = [weight for site in channels.sites if (weight := _Weight.of(site, channels)).is_free(least)]
    scales = _solve(weights, torch.maximum(least, _least_for_biases(weights, least)))
    before, after = (_widest_ratio(weights, each, least) for each in (torch.ones_like(scales), scales))
    equalized = GraphModule(module, copy.deepcopy(module.graph))
    changed = _scale(equalized, weights, scales)
    return equalized, Repair(
        repair="equalize", layers=changed, summary=_summary(changed, before, after, _about_bounds(channels, least))
    )


def _summary(changed: tuple[str, ...], before: float, after: float, about_bounds: str) -> str:
    if not changed:
        return f"No channels between layers could be evened out.{about_bounds}"
    return (
        f"The widest ratio between the ranges of a layer's channels went from {before:.3g} to {after:.3g}; "
        f"the float model computes the same.{about_bounds}"
    )


def _about_bounds(channels: Channels, least: Tensor) -> str:
    clamped = torch.cat([bound.channels.flatten() for bound in channels.bounds] or [torch.empty(0)])
    kept_scale = int(least[channels.classes[clamped.long()]].isinf().sum())
    if not len(clamped):
        return ""
    return f" Of {len(clamped)} channels that ReLU6 or Hardtanh clamps, {kept_scale} kept their scale."


@dataclass(frozen=True)
class _Weight:
    """A weight as far as scales of channels care.

    Attributes:
        site: The layer.
        gives: The class of each output (groups, outputs).
        reads: The class of each input (groups, inputs).
        columns: The same (groups, columns), each class once where there is one group: a flattened image has many of
            each.
        ranges: The largest absolute value from each column to each output (groups, outputs, columns), 1 at most: a
            scale that all channels share changes nothing, so all layers are taken to have the same range as a whole.
    """

    site: Site
    gives: Tensor
    reads: Tensor
    columns: Tensor
    ranges: Tensor

    @classmethod
    def of(cls, site: Site, channels: Channels) -> _Weight:
        layer: Any = site.layer
        ranges = to_rows(layer, layer.weight.detach().abs()[..., None]).flatten(3).amax(3)
        gives, reads = (channels.classes[numbers.long()].view(len(ranges), -1) for numbers in (site.gives, site.reads))
        ranges = ranges / ranges.max().clamp_min(torch.finfo(ranges.dtype).tiny)
        columns = reads
        if len(ranges) == 1:
            columns, places = torch.unique(reads, return_inverse=True)
            columns, places = columns[None], places.expand(*ranges.shape[:2], -1)
            ranges = ranges.new_zeros(*ranges.shape[:2], columns.shape[1]).scatter_reduce(2, places, ranges, "amax")
        return cls(site, gives, reads, columns, ranges)

    def is_free(self, least: Tensor) -> bool:
        """Whether it has a channel that can be scaled."""
        return bool(least[self.gives].isfinite().any() or least[self.reads].isfinite().any())

    def out_ranges(self, scales: Tensor) -> Tensor:
        """The range of the weights to each output (groups, outputs) under `scales`."""
        return (self.ranges * scales[self.columns][:, None]).amax(2) / scales[self.gives]

    def in_ranges(self, scales: Tensor) -> Tensor:
        """The range of the weights from each column (groups, columns) under `scales`."""
        return (self.ranges / scales[self.gives][..., None]).amax(1) * scales[self.columns]


def _solve(weights: list[_Weight], least: Tensor) -> Tensor:
    """The scale of each class. All are found at once, by half steps, since each weight has two sides that move."""
    scales, free = torch.ones_like(least), least.isfinite()
    for _ in range(MOST_SWEEPS):
        made, read = torch.zeros_like(least), torch.zeros_like(least)
        for weight in weights:
            made.scatter_reduce_(0, weight.gives.flatten(), weight.out_ranges(scales).flatten(), "amax")
            read.scatter_reduce_(0, weight.columns.flatten(), weight.in_ranges(scales).flatten(), "amax")
        movable = free & (made > 0) & (read > 0)
        better = torch.where(movable, (scales * (made / read) ** 0.25).maximum(least), scales)
        change = (better / scales).log().abs().max()
        scales = better
        if change < SETTLED:
            break
    return scales


def _least_scales(channels: Channels, reaches: list[Tensor]) -> Tensor:
    """The least scale of each class, such that no clamp meets what it did not meet before; infinite: it keeps its own.

    Args:
        channels: The channels.
        reaches: For each clamp, how near each channel comes to its bounds: 1 is at them.
    """
    least = torch.zeros(len(channels.classes))
    least[FIXED] = torch.inf
    for bound, reach in zip(channels.bounds, reaches, strict=True):
        needed = torch.where(reach * HEADROOM > 1, torch.inf, reach * HEADROOM)
        least.scatter_reduce_(0, channels.classes[bound.channels.long()].flatten(), needed.flatten(), "amax")
    return least


def _least_for_biases(weights: list[_Weight], least: Tensor) -> Tensor:
    """Scales that no bias outgrows its layer under, as that of a channel with next to no weights would.

    The largest output of a layer, for inputs of size 1, is what a bias may grow to.
    """
    floors = torch.zeros_like(least)
    for weight in weights:
        layer: Any = weight.site.layer
        if layer.bias is not None:
            bias = layer.bias.detach().abs()
            largest = to_rows(layer, layer.weight.detach().abs()).flatten(2).sum(2).flatten().add(bias).max()
            floors.scatter_reduce_(0, weight.gives.flatten(), bias / largest.clamp_min(1e-30), "amax")
    return floors


def _reaches(module: GraphModule, bounds: list[Bound], samples: Samples | None, batch_size: int) -> list[Tensor]:
    """How near each channel comes to the bounds of each clamp; infinite where that is not known."""
    if samples is None or not bounds:
        return [torch.full_like(bound.channels, torch.inf) for bound in bounds]
    watch = _Watch(module, bounds)
    with torch.no_grad(), kept(module):
        for batch in samples.batches(batch_size):
            watch.run(*batch.inputs)
    return [watch.reaches[bound.node.name] for bound in bounds]


class _Watch(Interpreter):
    """Runs a graph and notes how near channels come to the bounds of clamps."""

    def __init__(self, module: GraphModule, bounds: list[Bound]) -> None:
        super().__init__(module)
        self._bounds = {bound.node.name: bound for bound in bounds}
        self.reaches = {name: torch.zeros_like(bound.channels) for name, bound in self._bounds.items()}

    def run_node(self, n: Node) -> Any:
        if n.name in self._bounds:
            self._note(self._bounds[n.name], self.env[n.all_input_nodes[0]])
        return super().run_node(n)

    def _note(self, bound: Bound, value: Tensor) -> None:
        shape = bound.channels.shape
        same = [dim for dim, size in enumerate(shape) if size == 1]
        high, low = value.amax(same, keepdim=True), value.amin(same, keepdim=True)
        down = low / bound.low if bound.low < 0 else torch.full_like(low, 0.0 if bound.low == 0 else torch.inf)
        up = high / bound.high if bound.high > 0 else torch.full_like(high, torch.inf)
        reach = self.reaches[bound.node.name]
        # A shape that changes with the batch says nothing about channels.
        reach.copy_(reach.maximum(up).maximum(down) if high.shape == shape else reach.fill_(torch.inf))


def _widest_ratio(weights: list[_Weight], scales: Tensor, least: Tensor) -> float:
    """The largest of all ratios between the ranges of two channels of a layer that can be scaled and are not 0."""
    widest = 1.0
    for weight in weights:
        sides = ((weight.gives, weight.out_ranges(scales)), (weight.columns, weight.in_ranges(scales)))
        for classes, ranges in sides:
            told = ranges[least[classes].isfinite() & (ranges > 0)]
            if len(told):
                widest = max(widest, float(told.max() / told.min()))
    return widest


def _scale(module: GraphModule, weights: list[_Weight], scales: Tensor) -> tuple[str, ...]:
    """Puts scaled copies in place of the layers; the paths of those that changed. Shared parameters stay shared."""
    made: dict[int, nn.Parameter] = {}
    changed: dict[str, None] = {}
    for weight in weights:
        given, read = scales[weight.gives], scales[weight.reads]
        if not (given == 1).all() or not (read == 1).all():
            changed[weight.site.path] = None
            module.add_submodule(weight.site.path, _scaled(weight.site.layer, given, read, made))
    return tuple(changed)


def _scaled(layer: Any, given: Tensor, read: Tensor, made: dict[int, nn.Parameter]) -> nn.Module:
    """`layer` with its outputs divided by `given` and its inputs multiplied by `read`; `made` is what others share."""

    def replaced(name: str, value: Tensor) -> None:
        old: nn.Parameter = getattr(layer, name)
        setattr(own, name, made.setdefault(id(old), nn.Parameter(value.to(old.dtype), old.requires_grad)))

    own: nn.Module = copy.deepcopy(layer)
    with torch.no_grad():
        rows = to_rows(layer, layer.weight)
        factors = read[:, None] / given[..., None]
        replaced("weight", from_rows(layer, rows * factors.view(*factors.shape, *[1] * (rows.dim() - 3))).contiguous())
        if layer.bias is not None:
            replaced("bias", layer.bias / given.flatten())
    return own

"""The range whose integers tell the distribution of the values best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from octet.quantization.observers.clipping import ClippingObserver
from octet.quantization.observers.tally import PER_TENSOR

if TYPE_CHECKING:
    from torch import Tensor


class EntropyObserver(ClippingObserver):
    """Least Kullback-Leibler divergence of the distribution that the integers tell from the one that was counted.

    The reference is the counts inside the range, with what is clipped put into the outermost bins that are not empty.
    The candidate spreads the count of each integer evenly over those of its bins that are not empty. Migacz, "8-bit
    Inference with TensorRT", GTC 2017, with a lower end of its own where the scheme has one; Wu et al.,
    arXiv 2004.09602, section "Calibration". As there, a range of fewer bins than integers says nothing.
    """

    def grids(self) -> tuple[Tensor, ...]:
        """The divergence is jagged: shares are tried that are bins apart, down to as many bins as integers."""
        apart = max(1, self.side // (1024 if self.qscheme in PER_TENSOR else 64))
        shares = torch.arange(self.side, 0, -apart, device=self.width.device) / self.side
        shares = shares[shares * self.counts.size(1) >= self.integers]
        return (shares,) if len(shares) else ()

    def loss(self, low: Tensor, high: Tensor, rows: slice) -> Tensor:
        """The divergence in nats, infinite where it says nothing."""
        counts, width = self.counts[rows], torch.where(self.width > 0, self.width, 1.0)[rows, None]
        first, last = (torch.floor(end / width + 0.5).long() + self.side for end in (low, high))
        edges = self._edges(low, high, width).clamp(first[..., None], last[..., None] + 1)
        mass, filled = (_up_to(edges, each).diff(dim=2) for each in (counts, (counts > 0).double()))
        level = torch.log(mass / filled).nan_to_num(0.0, neginf=0.0)  # of the candidate, in each integer's bins
        below, inside = _up_to(first, counts), mass.sum(2)
        above = counts.sum(1, keepdim=True) - below - inside
        told = (mass * level).sum(2) + below * _end(level, mass > 0) + above * _end(level.flip(2), mass.flip(2) > 0)
        known = _self_information(counts, first, last, below, above)
        total = below + inside + above
        divergence = (known - told) / total + torch.log(inside / total)
        says_nothing = (last - first + 1 < self.integers) | (inside == 0)
        return divergence.masked_fill(says_nothing, float("inf")).float()

    def _edges(self, low: Tensor, high: Tensor, width: Tensor) -> Tensor:
        """The first bin of each integer and the one after the last, [rows, candidates, integers + 1]."""
        scale, zero = (each[..., None] for each in self._calculate_qparams(low, high))
        between = torch.arange(self.quant_min, self.quant_max, device=low.device) + 0.5 - zero
        # A bin halfway between two integers counts for the larger one, however its place is rounded.
        inner = torch.ceil(between * scale / width[..., None] - 1e-3).long() + self.side
        return pad(pad(inner, (1, 0), value=0), (0, 1), value=self.counts.size(1))


def _up_to(places: Tensor, counts: Tensor) -> Tensor:
    """The sum of each row of `counts` before each of `places`, which are [rows, …]."""
    sums = pad(counts.cumsum(1), (1, 0))
    return sums.gather(1, places.flatten(1)).reshape(places.shape)


def _end(values: Tensor, there: Tensor) -> Tensor:
    """The first of `values` along the last dimension that is `there`."""
    return values.gather(2, there.int().argmax(2, keepdim=True)).squeeze(2)


def _self_information(counts: Tensor, first: Tensor, last: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """The sum of r log(r) over the bins of the reference: `counts` with `below` and `above` added at the ends."""
    places = torch.arange(counts.size(1), device=counts.device)
    none = counts.size(1)
    after = torch.where(counts > 0, places, none).flip(1).cummin(1).values.flip(1)
    before = torch.where(counts > 0, places, -1).cummax(1).values
    start, end = after.gather(1, first).clamp(max=none - 1), before.gather(1, last).clamp(min=0)
    at_start, at_end = counts.gather(1, start), counts.gather(1, end)
    one = start == end
    plain = torch.xlogy(counts, counts)
    inner = _up_to(last + 1, plain) - _up_to(first, plain) - torch.xlogy(at_start, at_start)
    inner -= torch.where(one, 0.0, torch.xlogy(at_end, at_end))
    start_mass = at_start + below + torch.where(one, above, 0.0)
    end_mass = torch.where(one, 0.0, at_end + above)
    return inner + torch.xlogy(start_mass, start_mass) + torch.xlogy(end_mass, end_mass)

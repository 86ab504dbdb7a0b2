"""The observers that clip where it pays, each by its own measure of what is lost."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch

from octet.quantization.observers.tally import TallyObserver

if TYPE_CHECKING:
    from torch import Tensor

_BOTH, _HIGH, _LOW = (True, True), (False, True), (True, False)
_MOVES = {True: (_BOTH,), False: (_BOTH, _HIGH, _LOW)}
"""Which ends are moved, one search after the other, where the scheme is symmetric and where it is not."""

_CELLS_AT_ONCE = 2**21
"""Bins times candidates that are looked at in one go: it bounds the memory."""


class ClippingObserver(TallyObserver):
    """Clips where the finer steps for all that is kept gain more than the clipped values lose.

    A coordinate descent: both ends of the range are drawn in together, then in turn, while the loss falls.
    """

    @abstractmethod
    def grids(self) -> tuple[Tensor, ...]:
        """What the ends of a range are multiplied by to find a better one, one search after the other."""

    @abstractmethod
    def loss(self, low: Tensor, high: Tensor, rows: slice) -> Tensor:
        """What `rows` lose if they are kept within these ranges: all of shape [rows, candidates]."""

    def kept_range(self) -> tuple[Tensor, Tensor]:
        """The range with the least loss that was found."""
        low, high = self.min_val.clamp(max=0.0), self.max_val.clamp(min=0.0)
        if self.symmetric:
            high = torch.maximum(-low, high)
            low = -high
        candidates = max(map(len, self.grids()), default=1)
        step = max(1, _CELLS_AT_ONCE // (candidates * self.counts.size(1)))
        for start in range(0, len(low), step):
            rows = slice(start, start + step)
            low[rows], high[rows] = self._search(low[rows, None], high[rows, None], rows)
        return low, high

    def _search(self, least: Tensor, most: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """The best range within `least` and `most`, each [rows, 1]."""
        low, high, best = least, most, self.loss(least, most, rows)
        for moves_low, moves_high in _MOVES[self.symmetric]:
            for grid in self.grids():
                lows = torch.maximum(low * grid, least) if moves_low else low.expand(-1, len(grid))
                highs = torch.minimum(high * grid, most) if moves_high else high.expand(-1, len(grid))
                loss, place = self.loss(lows, highs, rows).min(1, keepdim=True)
                better = loss < best
                low = torch.where(better, lows.gather(1, place), low)
                high = torch.where(better, highs.gather(1, place), high)
                best = torch.where(better, loss, best)
        return low.squeeze(1), high.squeeze(1)


class MseObserver(ClippingObserver):
    """Least mean squared error of the values as they come back from their integers.

    The trade between rounding and clipping that Banner et al. solve for a bell curve (arXiv 1810.05723, section 3),
    here on the values themselves, as Choukroun et al. search it (arXiv 1902.06822, section 3), and with the scale and
    the zero point that the scheme will use.
    """

    def grids(self) -> tuple[Tensor, ...]:
        """The error has one valley: far shares first, then those around the best."""
        device = self.width.device
        return torch.logspace(0, -3, 64, device=device), torch.linspace(1 / 1.12, 1.12, 16, device=device)

    def loss(self, low: Tensor, high: Tensor, rows: slice) -> Tensor:
        """The squared error, summed up over the counted values."""
        scale, zero = (each[..., None] for each in self._calculate_qparams(low, high))
        values = self.centres()[rows, None]
        error = values.div(scale).round_().clamp_(self.quant_min - zero, self.quant_max - zero).mul_(scale).sub_(values)
        return torch.bmm(error.square_(), self.counts[rows, :, None].float()).squeeze(2)

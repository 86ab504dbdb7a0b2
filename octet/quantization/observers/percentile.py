"""The range that keeps a given share of the values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from octet.quantization.observers.tally import TallyObserver

if TYPE_CHECKING:
    from torch import Tensor


class PercentileObserver(TallyObserver):
    """Keeps `percentile` percent of the values and clips the rest, half of it at each end.

    Under a symmetric scheme the share is that of the magnitudes. Wu et al., "Integer Quantization for Deep Learning
    Inference", arXiv 2004.09602, section "Calibration".
    """

    def __init__(self, percentile: float = 99.99, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.share = percentile / 100

    def kept_range(self) -> tuple[Tensor, Tensor]:
        """The quantiles, to within a bin."""
        if self.symmetric:
            folded = self.counts[:, self.side :].clone()
            folded[:, 1:] += self.counts[:, : self.side].flip(1)
            reach = self._reach(folded, self.share)
            return torch.maximum(-reach, self.min_val), torch.minimum(reach, self.max_val)
        share = (1 + self.share) / 2
        low, high = (self._reach(counts, share) for counts in (self.counts.flip(1), self.counts))
        half = self.side * self.width
        return torch.maximum(half - low, self.min_val), torch.minimum(high - half, self.max_val)

    def _reach(self, counts: Tensor, share: float) -> Tensor:
        """How far from the first bin's centre to go so that `share` of the counts are behind."""
        sums = counts.cumsum(1)
        places = torch.searchsorted(sums, sums[:, -1:] * share).squeeze(1)
        return (places + 0.5) * self.width

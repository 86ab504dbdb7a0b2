"""Signal to quantization noise, added up over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SILENCE = 1e-30
"""Power that stands for an all-zero signal, so that its SQNR is very low instead of minus infinity."""


@dataclass
class Noise:
    """The power of a signal and of its error, in float64, so that batches of any number add up."""

    signal: float = 0.0
    error: float = 0.0

    def add(self, wanted: Tensor, got: Tensor) -> None:
        """Adds one tensor and what became of it; both of one shape."""
        reference = wanted.detach().double()
        self.signal += reference.square().sum().item()
        self.error += (got.detach().double() - reference).square().sum().item()

    @property
    def sqnr_db(self) -> float | None:
        """10 * log10(signal / error) in decibels; None: no error at all."""
        return 10 * math.log10(max(self.signal, _SILENCE) / self.error) if self.error else None

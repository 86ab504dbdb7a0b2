"""Observers: what finds the range of a tensor and turns it into a scale and a zero point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.ao.quantization.observer import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
    UniformQuantizationObserverBase,
)

if TYPE_CHECKING:
    from torch import Tensor


class _PowerOfTwoScale(UniformQuantizationObserverBase):
    """Rounds the scale up to a power of two, so that rescaling is a shift; the zero point follows the new scale.

    Rounding up keeps the observed range representable. The scheme is that of Jain et al., "Trained Quantization
    Thresholds for Accurate and Efficient Fixed-Point Inference", MLSys 2020 (arXiv 1903.08066), section 3.2, with
    the range from the observer instead of a trained one.
    """

    def _calculate_qparams(self, min_val: Tensor, max_val: Tensor) -> tuple[Tensor, Tensor]:
        scale, zero_point = super()._calculate_qparams(min_val, max_val)
        scale = torch.exp2(torch.ceil(torch.log2(scale)))
        if self.qscheme in {torch.per_tensor_affine, torch.per_channel_affine}:
            lowest = torch.clamp(min_val, max=0.0)
            zero_point = self.quant_min - torch.round(lowest / scale).to(zero_point.dtype)
            zero_point = torch.clamp(zero_point, self.quant_min, self.quant_max).reshape(scale.shape)
        return scale, zero_point


class PowerOfTwoMinMaxObserver(_PowerOfTwoScale, MinMaxObserver):
    """`MinMaxObserver` with power-of-two scales."""


class PowerOfTwoPerChannelMinMaxObserver(_PowerOfTwoScale, PerChannelMinMaxObserver):
    """`PerChannelMinMaxObserver` with power-of-two scales."""


class PowerOfTwoMovingAverageMinMaxObserver(_PowerOfTwoScale, MovingAverageMinMaxObserver):
    """`MovingAverageMinMaxObserver` with power-of-two scales."""


class PowerOfTwoMovingAveragePerChannelMinMaxObserver(_PowerOfTwoScale, MovingAveragePerChannelMinMaxObserver):
    """`MovingAveragePerChannelMinMaxObserver` with power-of-two scales."""


class PowerOfTwoHistogramObserver(_PowerOfTwoScale, HistogramObserver):
    """`HistogramObserver` with power-of-two scales."""


POWER_OF_TWO: dict[Any, Any] = {
    MinMaxObserver: PowerOfTwoMinMaxObserver,
    PerChannelMinMaxObserver: PowerOfTwoPerChannelMinMaxObserver,
    MovingAverageMinMaxObserver: PowerOfTwoMovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver: PowerOfTwoMovingAveragePerChannelMinMaxObserver,
    HistogramObserver: PowerOfTwoHistogramObserver,
}
"""An observer of torch's -> the same with power-of-two scales."""

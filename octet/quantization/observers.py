"""Observers: what finds the range of a tensor and turns it into a scale and a zero point."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.ao.quantization.observer import HistogramObserver as TorchHistogramObserver
from torch.ao.quantization.observer import (
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
    UniformQuantizationObserverBase,
)

if TYPE_CHECKING:
    from torch import Tensor


class HistogramObserver(TorchHistogramObserver):
    """torch's, with its search for the range a hundred times faster, and the same to the bit.

    torch looks for each quantile bin by bin in a tensor, up to 100,000 times where most values lie in one bin.
    """

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        """Minimizes the L2 error as `NonlinearQuantizationParamsSearch` of caffe2's `norm_minimization.cc` does."""
        sums = self.histogram.cumsum(0)
        cumulative, total, step = sums.tolist(), self.histogram.sum().item(), 1e-5
        alpha, beta, start, end, least = 0.0, 1.0, 0, self.bins - 1, float("inf")
        while alpha < beta:
            low, high = (_as(sums, share * total) for share in (alpha + step, beta - step))
            left = bisect_left(cumulative, low, start, end)
            right = max(start, bisect_right(cumulative, high, start, end + 1) - 1)
            if left - start > end - right:
                alpha, bounds = alpha + step, (left, end)
            else:
                beta, bounds = beta - step, (start, right)
            if bounds == (start, end):
                continue
            error = self._compute_quantization_error(*bounds)
            if error > least:
                break
            least, (start, end) = error, bounds
        width = (self.max_val - self.min_val) / self.bins
        return self.min_val + width * start, self.min_val + width * (end + 1)


def _as(tensor: Tensor, value: float) -> float:
    """`value` rounded to the dtype of `tensor`, as torch does before it compares the two."""
    return float(np.float32(value)) if tensor.dtype == torch.float32 else value


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

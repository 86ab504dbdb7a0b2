"""Observers: what finds the range of a tensor and turns it into a scale and a zero point.

All take `dtype`, `qscheme`, `quant_min`, `quant_max` (any two integers around 0: nothing here is made for eight bits
only), `power_of_two`, and where there is one scale per channel, `ch_axis`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.quantization.observers.clipping import MseObserver
from octet.quantization.observers.entropy import EntropyObserver
from octet.quantization.observers.of_torch import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageObserver,
    PerChannelMinMaxObserver,
    PerChannelMovingAverageObserver,
)
from octet.quantization.observers.percentile import PercentileObserver

if TYPE_CHECKING:
    from octet.quantization.observers.scales import Scaled
    from octet.recipe import ObserverName

OBSERVERS: dict[tuple[ObserverName, str], type[Scaled]] = {
    ("minmax", "per_tensor"): MinMaxObserver,
    ("minmax", "per_channel"): PerChannelMinMaxObserver,
    ("moving_average", "per_tensor"): MovingAverageObserver,
    ("moving_average", "per_channel"): PerChannelMovingAverageObserver,
    ("histogram", "per_tensor"): HistogramObserver,
    ("percentile", "per_tensor"): PercentileObserver,
    ("percentile", "per_channel"): PercentileObserver,
    ("mse", "per_tensor"): MseObserver,
    ("mse", "per_channel"): MseObserver,
    ("entropy", "per_tensor"): EntropyObserver,
    ("entropy", "per_channel"): EntropyObserver,
}
"""The recipe's name and granularity -> the observer. A histogram is of a tensor as a whole."""

__all__ = ["OBSERVERS"]

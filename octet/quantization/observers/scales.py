"""How a range becomes a scale and a zero point, for every observer alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.ao.quantization.observer import UniformQuantizationObserverBase

if TYPE_CHECKING:
    from torch import Tensor


class Scaled(UniformQuantizationObserverBase):
    """What is common to all observers: put before one of torch's, it decides on the scale.

    A tensor that was zero throughout, or never seen, has no range to take a scale from: its range is then taken for 1,
    where torch's scale is next to nothing, so that no other value could pass, or a warning.

    With `power_of_two`, the scale is rounded up to a power of two, so that rescaling is a shift; the zero point follows
    the new scale. Rounding up keeps the range representable. The scheme is that of Jain et al., "Trained Quantization
    Thresholds for Accurate and Efficient Fixed-Point Inference", MLSys 2020 (arXiv 1903.08066), section 3.2, with the
    range from the observer instead of a trained one.
    """

    min_val: Tensor
    max_val: Tensor

    def __init__(self, *args: Any, power_of_two: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.power_of_two = power_of_two

    @property
    def seen(self) -> bool:
        """Whether any values were observed."""
        return self.min_val.numel() > 0 and bool((self.min_val <= self.max_val).all())

    def kept_range(self) -> tuple[Tensor, Tensor]:
        """The least and the largest value that the scale is made for, of the tensor or of each channel."""
        return self.min_val, self.max_val

    def calculate_qparams(self, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Scale (float32) and zero point (int), one for each row: of the tensor, or of its channels."""
        if not self.seen:
            one = torch.ones(1, device=self.eps.device)
            return self._calculate_qparams(one.neg(), one)
        # The observer that this is put before has it.
        scale_and_zero: tuple[Tensor, Tensor] = super().calculate_qparams(**kwargs)  # type: ignore[safe-super, no-untyped-call]
        return scale_and_zero

    def _calculate_qparams(self, min_val: Tensor, max_val: Tensor) -> tuple[Tensor, Tensor]:
        max_val = torch.where((min_val == 0) & (max_val == 0), torch.ones_like(max_val), max_val)
        scale, zero_point = super()._calculate_qparams(min_val, max_val)
        if self.power_of_two:
            scale = torch.exp2(torch.ceil(torch.log2(scale)))
            if self.qscheme in {torch.per_tensor_affine, torch.per_channel_affine}:
                lowest = torch.clamp(min_val, max=0.0)
                zero_point = self.quant_min - torch.round(lowest / scale).to(zero_point.dtype)
                zero_point = torch.clamp(zero_point, self.quant_min, self.quant_max).reshape(scale.shape)
        return scale, zero_point

"""The base of the observers that look at how values are distributed: a histogram for each row, in bounded memory."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch.ao.quantization.observer import UniformQuantizationObserverBase

from octet.quantization.observers.scales import Scaled

if TYPE_CHECKING:
    from torch import Tensor

PER_TENSOR = (torch.per_tensor_affine, torch.per_tensor_symmetric)
SYMMETRIC = (torch.per_tensor_symmetric, torch.per_channel_symmetric)

BINS_A_SIDE = {True: 2048, False: 256}
"""Of zero, for a whole tensor and for each of its channels, of which there may be thousands."""


class TallyObserver(Scaled, UniformQuantizationObserverBase):
    """Counts values in bins around zero, and takes from the counts the range that is kept.

    A row is the tensor, or one of its channels. The middle bin is centred on 0, which every scheme represents exactly.
    Where a batch goes beyond the bins, bins are joined in pairs until it does not: memory stays as it is, and at least
    half of the bins of one side are in use.

    Attributes:
        counts: Values in each bin, float64 of shape [rows, bins].
        width: Of a bin, shape [rows]; 0 while a row has seen nothing but 0.
        min_val: Least value of each row, shape [rows].
        max_val: Largest value of each row, shape [rows].
    """

    counts: Tensor
    width: Tensor

    def __init__(self, ch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ch_axis = ch_axis
        self.side = BINS_A_SIDE[self.qscheme in PER_TENSOR]
        for name in ("counts", "width", "min_val", "max_val"):
            self.register_buffer(name, torch.empty(0))

    def forward(self, x: Tensor) -> Tensor:
        """Counts the values of `x`, of any shape, and gives it back."""
        if x.numel():
            values = x.detach().float()
            per_tensor = self.qscheme in PER_TENSOR
            self._add(values.reshape(1, -1) if per_tensor else values.transpose(0, self.ch_axis).flatten(1))
        return x

    @abstractmethod
    def kept_range(self) -> tuple[Tensor, Tensor]:
        """The least and the largest value to be represented, each of shape [rows], within `min_val` and `max_val`."""

    def calculate_qparams(self, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Scale (float32) and zero point (int), each of shape [rows]."""
        return self._calculate_qparams(*self.kept_range()) if self.seen else super().calculate_qparams(**kwargs)

    @property
    def symmetric(self) -> bool:
        """Whether the range is as wide on both sides of zero."""
        return self.qscheme in SYMMETRIC

    @property
    def integers(self) -> int:
        """How many there are."""
        return self.quant_max - self.quant_min + 1

    def centres(self) -> Tensor:
        """The value that each bin stands for, shape [rows, bins]."""
        return torch.arange(-self.side, self.side + 1, device=self.width.device) * self.width[:, None]

    def _add(self, rows: Tensor) -> None:
        low, high = rows.aminmax(dim=1)
        if not self.counts.numel():
            bins = 2 * self.side + 1
            self.counts = torch.zeros(len(rows), bins, dtype=torch.float64, device=rows.device)
            self.width, self.min_val, self.max_val = torch.zeros_like(low), low, high
        self.min_val, self.max_val = torch.minimum(self.min_val, low), torch.maximum(self.max_val, high)
        self._widen(torch.maximum(-self.min_val, self.max_val))
        width = torch.where(self.width > 0, self.width, 1.0)[:, None]
        places = rows.div(width).round_().clamp_(-self.side, self.side).long().add_(self.side)
        offsets = torch.arange(len(rows), device=rows.device)[:, None] * self.counts.size(1)
        found = torch.bincount(places.add_(offsets).flatten(), minlength=self.counts.numel())
        self.counts += found.reshape(self.counts.shape)

    def _widen(self, reach: Tensor) -> None:
        """Joins bins, as many as it takes for each row, until values of `reach` have a place."""
        first = (self.width == 0) & (reach > 0)
        self.width = torch.where(first, reach / self.side, self.width)
        joined = torch.ceil(torch.log2((reach / (self.side * self.width)).clamp_min(1.0).nan_to_num(1.0)))
        if joined.any():
            places = torch.arange(-self.side, self.side + 1, device=reach.device) / torch.exp2(joined)[:, None]
            places = places.add_(0.5).floor_().long().add_(self.side)
            self.counts = torch.zeros_like(self.counts).scatter_add_(1, places, self.counts)
            self.width = self.width * torch.exp2(joined)

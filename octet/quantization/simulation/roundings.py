"""Rounding to the values of a format, as modules that TorchScript takes.

Scales have the shape that broadcasts over the tensor that is rounded, so that one per tensor and one per channel are
the same code. A value beyond the range becomes the end of it.
"""

import torch
from torch import Tensor, nn


class Uniform(nn.Module):
    """Evenly spaced values: `(q - zero_point) * scale` for whole numbers `q` from `quant_min` to `quant_max`."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: Tensor, zero_point: Tensor, quant_min: int, quant_max: int) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", zero_point.to(scale.dtype))
        self.quant_min = quant_min
        self.quant_max = quant_max

    def forward(self, x: Tensor) -> Tensor:
        """The nearest of the values, of the shape of `x`."""
        steps = torch.round(x / self.scale) + self.zero_point
        return (steps.clamp(self.quant_min, self.quant_max) - self.zero_point) * self.scale


class Dynamic(nn.Module):
    """Evenly spaced values over the range of each tensor that comes, as dynamic kernels find it."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.quant_max = 2**bits - 1

    def forward(self, x: Tensor) -> Tensor:
        """The nearest of the values, of the shape of `x`."""
        if x.numel() == 0:
            return x
        low, high = x.amin().clamp(max=0.0), x.amax().clamp(min=0.0)
        scale: Tensor = ((high - low) / self.quant_max).clamp(min=1e-12)
        zero_point = torch.round(-low / scale)
        steps = torch.round(x / scale) + zero_point
        return (steps.clamp(0.0, self.quant_max) - zero_point) * scale


class PowersOfTwo(nn.Module):
    """Signed powers of two times a scale, and zero: `scale * 2**-k` for `k` from 0 to `exponents - 1`.

    Multiplying by them is a shift. Miyashita et al., "Convolutional Neural Networks using Logarithmic Data
    Representation", arXiv 1603.01025, section 3; the nearest in value is taken, as Zhou et al., "Incremental Network
    Quantization", arXiv 1702.03044, equation 4 does.
    """

    scale: Tensor

    def __init__(self, scale: Tensor, exponents: int) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.exponents = exponents

    def forward(self, x: Tensor) -> Tensor:
        """The nearest of the values, of the shape of `x`."""
        least = 1.0 - self.exponents
        share = x.abs() / self.scale
        # Half-way between two powers is 1.5 times the lower one, which 4/3 makes the upper one.
        exponent = torch.floor(torch.log2(share * (4.0 / 3.0))).clamp(least, 0.0)
        power = torch.pow(torch.full_like(exponent, 2.0), exponent)
        return torch.where(share < 2.0 ** (least - 1.0), torch.zeros_like(x), x.sign() * power * self.scale)


class Codebook(nn.Module):
    """Any values: `levels` of shape [channels, values] in rising order, or [1, values] for the tensor as a whole."""

    levels: Tensor
    bounds: Tensor

    def __init__(self, levels: Tensor, axis: int | None) -> None:
        super().__init__()
        self.register_buffer("levels", levels)
        self.register_buffer("bounds", (levels[:, 1:] + levels[:, :-1]) / 2, persistent=False)
        self.per_channel = axis is not None
        self.axis = 0 if axis is None else axis

    def forward(self, x: Tensor) -> Tensor:
        """The nearest of the values, of the shape of `x`."""
        moved = x.movedim(self.axis, 0) if self.per_channel else x.unsqueeze(0)
        rows = moved.reshape(self.levels.size(0), -1).contiguous()
        rounded = self.levels.gather(1, torch.searchsorted(self.bounds, rows)).reshape(moved.shape)
        return rounded.movedim(0, self.axis) if self.per_channel else rounded.squeeze(0)


class Point(nn.Module):
    """A place in a graph where values are rounded, unless that is switched off.

    Attributes:
        rounding: What takes and gives the values; while ranges are being found, what looks at them.
        enabled: Whether it is on.
    """

    def __init__(self, rounding: nn.Module) -> None:
        super().__init__()
        self.rounding = rounding
        self.enabled = True

    def forward(self, x: Tensor) -> Tensor:
        """`x` rounded, of the same shape, or as it is."""
        if self.enabled:
            rounded: Tensor = self.rounding(x)
            return rounded
        return x

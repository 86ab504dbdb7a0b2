"""Functions that stay one call when the graph is traced again: tracing into them would need sizes that are open."""

from __future__ import annotations

import torch


def arange(beside: torch.Tensor, start: int, end: int, step: int, dtype: torch.dtype) -> torch.Tensor:
    """`torch.arange` on the device of `beside`."""
    return torch.arange(start, end, step, dtype=dtype, device=beside.device)


def arange_of_floats(beside: torch.Tensor, start: float, end: float, step: float, dtype: torch.dtype) -> torch.Tensor:
    """The same, for bounds of which one is no integer: TorchScript has no type for both."""
    return torch.arange(start, end, step, dtype=dtype, device=beside.device)

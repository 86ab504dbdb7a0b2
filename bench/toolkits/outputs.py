"""How far outputs are apart, whatever classes, tuples and dicts they come in; and the data that all toolkits get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from architectures import Architecture

ENGINE = "x86"
BATCH, OTHER_BATCH = 4, 3
CALIBRATION_BATCHES = 4


def calibration(architecture: Architecture) -> list[dict[str, Tensor]]:
    """The batches that every toolkit calibrates on."""
    return [architecture.batch(BATCH, seed=10 + number) for number in range(CALIBRATION_BATCHES)]


def evaluation(architecture: Architecture) -> dict[int, dict[str, Tensor]]:
    """What every toolkit is judged on, by batch size."""
    return {size: architecture.batch(size, seed=size) for size in (BATCH, OTHER_BATCH)}


def tensors(outputs: Any) -> list[Tensor]:
    """The tensors of any nesting of tuples, lists, dicts and output classes, in order."""
    return [value for value in pytree.tree_leaves(outputs) if isinstance(value, Tensor)]


def shapes(outputs: Any) -> list[torch.Size]:
    """Of all tensors."""
    return [output.shape for output in tensors(outputs)]


def sqnr(reference: Any, approximation: Any) -> float:
    """10 log10 of signal power over error power of the first floating output, in decibels."""
    pairs = zip(tensors(reference), tensors(approximation), strict=True)
    wanted, got = next(pair for pair in pairs if pair[0].is_floating_point())
    finite = wanted.isfinite()
    wanted, got = wanted[finite].double(), got[finite].double()
    return float(20 * torch.log10(wanted.norm() / (wanted - got).norm()))


def difference(reference: Any, outputs: Any) -> float:
    """The largest difference in any output, relative to that output's largest value."""
    pairs = zip(tensors(reference), tensors(outputs), strict=True)
    return max(_difference(wanted.double(), got.double()) for wanted, got in pairs)


def _difference(wanted: Tensor, got: Tensor) -> float:
    if wanted.shape != got.shape or not torch.equal(wanted.isfinite(), got.isfinite()):
        return float("inf")
    wanted, got = wanted.nan_to_num(0, 0, 0), got.nan_to_num(0, 0, 0)
    return float((wanted - got).abs().max() / wanted.abs().max().clamp(min=1e-30)) if wanted.numel() else 0.0


def reason(error: BaseException) -> str:
    """The kind of an error and what it says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:1500]}"

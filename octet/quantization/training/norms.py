"""Batch norms as torch's trainable layers can take them in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch.fx import GraphModule

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_LEAST_WEIGHT = 1e-8


def keep_from_zero(module: GraphModule) -> None:
    """Moves the weights of batch norms away from 0, by no more than float32 tells apart.

    A convolution that is trained with its norm multiplies its weight by that of the norm, rounds it, and divides what
    comes out (Krishnamoorthi, arXiv 1806.08342, section 3.2.2): a channel that was pruned, or initialized to 0 as the
    last norm of a residual block may be, would come out as 0 / 0.
    """
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, NORMS) and norm.affine:
                norm.weight.copy_(torch.where(norm.weight.abs() < _LEAST_WEIGHT, _LEAST_WEIGHT, norm.weight))

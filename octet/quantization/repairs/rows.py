"""The weights of linear layers and convolutions of every kind in one layout, by the channels that they lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn.modules.conv import _ConvTransposeNd

if TYPE_CHECKING:
    from torch import Tensor


def channel_dim(layer: Any) -> int:
    """The dimension of channels in what `layer` reads and gives, counted from the end: samples may have no batch."""
    return 1 - int(layer.weight.dim())


def to_rows(layer: Any, weight: Tensor) -> Tensor:
    """`weight` as (groups, outputs per group, inputs per group, ...)."""
    if isinstance(layer, _ConvTransposeNd):
        return weight.reshape(layer.groups, -1, *weight.shape[1:]).transpose(1, 2)
    return weight.reshape(getattr(layer, "groups", 1), -1, *weight.shape[1:])


def from_rows(layer: Any, rows: Tensor) -> Tensor:
    """What `to_rows` made `rows` of."""
    return (rows.transpose(1, 2) if isinstance(layer, _ConvTransposeNd) else rows).flatten(0, 1)

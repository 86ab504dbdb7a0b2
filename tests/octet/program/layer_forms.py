"""What the layers of `layer_cases.py` are called with, and how their results come out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

Layers = dict[str, nn.Module]


class Call(nn.Module):
    """A function of the input and of modules that it calls."""

    def __init__(self, call: Callable[..., object], *parts: nn.Module) -> None:
        super().__init__()
        self.call = call
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> object:
        return self.call(x, *self.parts)


class Branches(nn.Module):
    """What each layer makes of the same input, by the layer's name."""

    def __init__(self, layers: Layers, stem: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> dict[str, object]:
        x = self.stem(x)
        return {name: layer(x) for name, layer in self.layers.items()}


def signal() -> Tensor:
    return torch.randn(2, 4, 12)


def image() -> Tensor:
    return torch.randn(2, 4, 6, 6)


def volume() -> Tensor:
    return torch.randn(2, 4, 4, 6, 6)


def table() -> Tensor:
    return torch.randn(2, 8)


def sequence() -> Tensor:
    return torch.randn(2, 5, 8)


def ids() -> Tensor:
    return torch.randint(0, 20, (2, 5))


SPATIAL = {1: signal, 2: image, 3: volume}


def of_dims(kind: str, dims: int) -> Callable[..., Any]:
    return getattr(nn, f"{kind}{dims}d")

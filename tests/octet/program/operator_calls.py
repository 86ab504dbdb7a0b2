"""Calls of every tensor operator, by family, each on a float tensor [batch, 4, 6, 6]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

Call = "Callable[[Tensor], object]"


def each(space: Any, names: str, *arguments: Callable[[Tensor], Any]) -> Callable[[Tensor], object]:
    """Calls each of the functions of `space` that `names` lists with the same arguments, made of the input."""
    return lambda x: [getattr(space, name)(*(argument(x) for argument in arguments)) for name in names.split()]


def itself(x: Tensor) -> Tensor:
    """The input."""
    return x


def positive(x: Tensor) -> Tensor:
    """Above 0.5."""
    return x.abs() + 0.5


def unit(x: Tensor) -> Tensor:
    """Between 0.1 and 0.9."""
    return x.sigmoid() * 0.8 + 0.1


def whole(x: Tensor) -> Tensor:
    """Integers around zero."""
    return (x * 10).long()


def small(x: Tensor) -> Tensor:
    """0, 1, 2 or 3: places in a dimension of four."""
    return whole(x).abs() % 4


def number(value: Any) -> Callable[[Tensor], Any]:
    """The same number, whatever the input."""
    return lambda _: value


def batch(x: Tensor) -> int:
    """The open size."""
    return x.shape[0]


def square(x: Tensor) -> Tensor:
    """Well-conditioned matrices, [batch, 4, 6, 6]."""
    return x @ x.mT + torch.eye(6)

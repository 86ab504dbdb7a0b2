"""Numbers of channels, joined into classes of those that share a scale."""

from __future__ import annotations

import torch
from torch import Tensor

FIXED = 0
"""The number of all channels that keep their scale: inputs, constants, and what is neither linear nor homogeneous."""


class Classes:
    """Numbers of channels, joined into classes (union-find, with each path halved as it is walked)."""

    def __init__(self) -> None:
        self._parents = [FIXED]

    def add(self, count: int) -> Tensor:
        """New numbers. As floats, which every operator of torch moves; they are exact up to 2 ** 24."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return torch.arange(start, start + count, dtype=torch.float32)

    def join(self, one: Tensor, other: Tensor) -> None:
        """Makes one class of the numbers that stand in the same places."""
        whole = torch.broadcast_shapes(one.shape, other.shape)  # type: ignore[no-untyped-call]  # torch has no hints
        one, other = compact(one.expand(whole)), compact(other.expand(whole))
        apart = one != other
        pairs = torch.stack([numbers.expand(apart.shape)[apart] for numbers in (one, other)], 1)
        for pair in torch.unique(pairs, dim=0).int().tolist():
            first, second = map(self._root, pair)
            self._parents[max(first, second)] = min(first, second)

    def fix(self, numbers: Tensor) -> None:
        """Makes the numbers keep their scale."""
        self.join(numbers, torch.tensor(float(FIXED)))

    def roots(self) -> Tensor:
        """The class of each number, int64."""
        return torch.tensor([self._root(number) for number in range(len(self._parents))])

    def _root(self, number: int) -> int:
        parents = self._parents
        while parents[number] != number:
            parents[number] = number = parents[parents[number]]
        return number


def compact(numbers: Tensor) -> Tensor:
    """`numbers` with each dimension along which it is expanded, and so all the same, of size 1."""
    for dim, stride in enumerate(numbers.stride()):
        if stride == 0:
            numbers = numbers.narrow(dim, 0, min(1, numbers.shape[dim]))
    return numbers

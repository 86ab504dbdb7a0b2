"""Codebooks: the values that come nearest to a set of values, by k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

MOST_STEPS = 100
SETTLED = 1e-3
"""Of the spacing that even spacing has: what moves less has found its place."""


def codebooks(rows: Tensor, count: int) -> Tensor:
    """For each row of `rows`, [channels, values], the at most `count` values of least squared error, in rising order.

    Han et al., "Deep Compression", arXiv 1510.00149, section 3: k-means from evenly spaced values, which serve the rare
    and large ones best. Where values come in clumps that start strands centroids between them, and one from quantiles
    does better; each row keeps the better of the two. Lloyd's steps never make it worse, so that the result is never
    worse than evenly spaced values are.
    """
    ordered = rows.double().sort(dim=1).values
    count = min(count, ordered.size(1))
    found = [_settled(ordered, start(ordered, count)) for start in _STARTS]
    errors = torch.stack([error for _, error in found])
    levels = torch.stack([levels for levels, _ in found])
    best = levels.gather(0, errors.argmin(0)[None, :, None].expand(1, *levels.shape[1:]))[0]
    return best.to(rows.dtype)


def _evenly_spaced(ordered: Tensor, count: int) -> Tensor:
    low, high = ordered[:, :1], ordered[:, -1:]
    return low + (high - low) * torch.linspace(0, 1, count, dtype=ordered.dtype)


def _quantiles(ordered: Tensor, count: int) -> Tensor:
    places = (torch.arange(count, dtype=ordered.dtype) + 0.5) * ordered.size(1) / count
    return ordered[:, places.long()]


_STARTS: tuple[Callable[[Tensor, int], Tensor], ...] = (_evenly_spaced, _quantiles)


def _settled(ordered: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """`levels` after Lloyd's steps, and the squared error of each row.

    In one dimension a cluster is a run of the sorted values, and its sum the difference of two running sums.
    """
    sums = torch.nn.functional.pad(ordered.cumsum(1), (1, 0))
    tolerance = (ordered[:, -1:] - ordered[:, :1]) / levels.size(1) * SETTLED
    for _ in range(MOST_STEPS):
        sizes, totals = _clusters(ordered, sums, levels)
        means = torch.where(sizes > 0, totals / sizes.clamp_min(1), levels)
        settled = ((means - levels).abs() <= tolerance).all()
        levels = means
        if settled:
            break
    sizes, totals = _clusters(ordered, sums, levels)
    error = ordered.square().sum(1) + (sizes * levels.square() - 2 * totals * levels).sum(1)
    return levels, error


def _clusters(ordered: Tensor, sums: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """How many values are nearest to each level, and their sum."""
    inner = torch.searchsorted(ordered, (levels[:, 1:] + levels[:, :-1]) / 2)
    ends = torch.nn.functional.pad(torch.nn.functional.pad(inner, (1, 0)), (0, 1), value=ordered.size(1))
    return ends.diff(dim=1), sums.gather(1, ends).diff(dim=1)

"""Observers find the range that a search over all ranges finds."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from octet.quantization.observers import OBSERVERS

if TYPE_CHECKING:
    from torch import Tensor

    from octet.quantization.observers.scales import Scaled

QSCHEMES = {
    ("per_tensor", "affine"): torch.per_tensor_affine,
    ("per_tensor", "symmetric"): torch.per_tensor_symmetric,
    ("per_channel", "affine"): torch.per_channel_affine,
    ("per_channel", "symmetric"): torch.per_channel_symmetric,
}
SHAPES = ["normal", "relu", "outlier", "skewed", "uniform"]


def data_of(shape: str, count: int = 400) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(count, generator=generator)
    return {
        "normal": normal,
        "relu": normal.relu(),
        "outlier": torch.cat([normal, torch.tensor([30.0, -9.0])]),
        "skewed": normal.exp() - 1,
        "uniform": torch.rand(count, generator=generator) * 3 - 1,
    }[shape]


def observer_of(name: Any, bits: int, scheme: str = "affine", granularity: str = "per_tensor", **more: Any) -> Any:
    """An observer of activations: unsigned integers of so many bits."""
    return OBSERVERS[name, granularity](
        dtype=torch.quint8 if bits <= 8 else torch.qint32,
        qscheme=QSCHEMES[granularity, scheme],
        quant_min=0,
        quant_max=2**bits - 1,
        **more,
    )


def error_of(observer: Scaled, data: Tensor) -> float:
    """The mean squared error of `data` in the observer's integers."""
    scale, zero = (each.item() for each in observer.calculate_qparams())
    back = (data / scale).round().add(zero).clamp(observer.quant_min, observer.quant_max).sub(zero).mul(scale)
    return (back - data).square().mean().item()


def ranges_of(data: Tensor, scheme: str, steps: int = 48) -> list[tuple[float, float]]:
    """All ranges whose ends are so many parts of the extremes."""
    low, high = min(data.min().item(), 0.0), max(data.max().item(), 0.0)
    shares = [(step + 1) / steps for step in range(steps)]
    if scheme == "symmetric":
        return [(-max(-low, high) * share, max(-low, high) * share) for share in shares]
    return [(low * at_low, high * at_high) for at_low, at_high in product(shares, shares)]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("shape", SHAPES)
def test_mse_finds_as_small_an_error_as_a_search_over_all_ranges(shape: str, scheme: str, bits: int) -> None:
    data, found, extremes = data_of(shape), observer_of("mse", bits, scheme), observer_of("minmax", bits, scheme)
    for batch in data.chunk(3):
        found(batch)
    errors = []
    for low, high in ranges_of(data, scheme):
        extremes.min_val, extremes.max_val = torch.tensor(low), torch.tensor(high)
        errors.append(error_of(extremes, data))
    assert error_of(found, data) <= 1.1 * min(errors)


def divergence_of(counts: np.ndarray, first: int, last: int, integers: np.ndarray) -> float:
    """The divergence by the book: bin by bin. `integers`: which one each bin inside becomes."""
    inside = counts[first : last + 1]
    filled = np.flatnonzero(inside)
    if not len(filled):
        return math.inf
    reference = inside.astype(float)
    reference[filled[0]] += counts[:first].sum()
    reference[filled[-1]] += counts[last + 1 :].sum()
    candidate = np.zeros(len(inside))
    for integer in np.unique(integers):
        there = (integers == integer) & (inside > 0)
        if there.any():
            candidate[there] = inside[there].sum() / there.sum()
    p, q = reference[filled] / counts.sum(), candidate[filled] / inside.sum()
    return float((p * np.log(p / q)).sum())


@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_finds_as_small_a_divergence_as_a_search_over_all_ranges(shape: str, scheme: str) -> None:
    data, observer = data_of(shape, 2000), observer_of("entropy", 4, scheme)
    observer.side = 32
    observer(data)
    counts, width, side = observer.counts[0].numpy(), observer.width.item(), observer.side
    least, most = (round(end.item() / width) for end in (observer.min_val.clamp(max=0), observer.max_val))

    def divergence(first: int, last: int) -> float:
        ends = torch.tensor([first * width]), torch.tensor([last * width])
        scale, zero = (each.item() for each in observer._calculate_qparams(*ends))  # noqa: SLF001
        steps = np.arange(first, last + 1) * width / scale
        integers = np.clip(np.floor(steps + 0.5001) + zero, observer.quant_min, observer.quant_max)
        ours = observer.loss(ends[0][None], ends[1][None], slice(0, 1)).item()
        assert ours == pytest.approx(divergence_of(counts, first + side, last + side, integers), abs=1e-5)
        return ours

    if scheme == "symmetric":
        reach = max(-least, most)
        ranges = [(max(-end, least), min(end, most)) for end in range(1, reach + 1)]
    else:
        ranges = list(product(range(least, 1), range(most + 1)))
    best = min(divergence(*each) for each in ranges if each[1] - each[0] + 1 >= observer.integers)
    low, high = (end.item() for end in observer.kept_range())
    assert divergence(round(low / width), round(high / width)) <= 1.05 * best + 3e-3


@pytest.mark.parametrize("percentile", [99.93, 99.11, 75.03])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_percentile_keeps_its_share_of_the_values(shape: str, scheme: str, percentile: float) -> None:
    data, observer = data_of(shape, 4000), observer_of("percentile", 8, scheme, percentile=percentile)
    for batch in data.chunk(5):
        observer(batch)
    share = percentile / 100
    if scheme == "symmetric":
        reach = smallest_with(data.abs(), share)
        wanted = max(-reach, data.min().item()), min(reach, data.max().item())
    else:
        wanted = -smallest_with(-data, (1 + share) / 2), smallest_with(data, (1 + share) / 2)
    assert [end.item() for end in observer.kept_range()] == pytest.approx(wanted, abs=observer.width.item())


def smallest_with(values: Tensor, share: float) -> float:
    """The smallest of `values` such that `share` of them are no larger."""
    return next(value for value in sorted(values.tolist()) if (values <= value).sum() >= share * len(values))


@pytest.mark.parametrize("bits", [2, 4, 7, 8, 12, 16])
@pytest.mark.parametrize(("name", "granularity"), OBSERVERS)
def test_every_observer_takes_any_number_of_bits(name: str, granularity: str, bits: int) -> None:
    observer = observer_of(name, bits, granularity=granularity)
    data = data_of("normal", 4000).reshape(4, 1000)
    observer(data)
    scale, zero = observer.calculate_qparams()
    assert scale.shape == zero.shape == ((4,) if granularity == "per_channel" else (1,))
    back = (data / scale[:, None]).round().add(zero[:, None]).clamp(0, 2**bits - 1).sub(zero[:, None])
    noise = (back * scale[:, None] - data).square().mean() / data.square().mean()
    assert -10 * noise.log10() > 5 * bits - 18


@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("name", ["percentile", "mse", "entropy"])
def test_channels_are_looked_at_one_by_one(name: str, scheme: str) -> None:
    data = torch.stack([data_of("normal"), 100 * data_of("relu"), data_of("uniform"), torch.zeros(400)])
    together = observer_of(name, 4, scheme, "per_channel", ch_axis=1)
    together(data.t())
    for row, channel in enumerate(data):
        alone = observer_of(name, 4, scheme, "per_channel")
        alone(channel[None])
        for ours, wanted in zip(together.calculate_qparams(), alone.calculate_qparams(), strict=True):
            assert ours[row] == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize("name", ["percentile", "mse", "entropy"])
def test_batches_of_growing_values_are_as_good_as_one(name: str) -> None:
    data = data_of("skewed", 6000)[data_of("skewed", 6000).abs().argsort()]
    at_once, streamed = observer_of(name, 6), observer_of(name, 6)
    at_once(data)
    for batch in data.chunk(7):
        streamed(batch)
    assert streamed.counts.sum() == len(data)
    assert streamed.counts.shape == at_once.counts.shape
    assert error_of(streamed, data) == pytest.approx(error_of(at_once, data), rel=0.1)

"""The values that formats have, and which of them are chosen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from quantizing import recipe_of

from octet.quantization.simulation.codebooks import codebooks
from octet.quantization.simulation.formats import activation_format, weight_format


def rounded(values: torch.Tensor, bits: int, axis: int = -2, **weights: Any) -> torch.Tensor:
    """`values` as weights of a recipe that simulates."""
    fitter = weight_format(recipe_of("simulate", weights=weights), bits).fitter(axis)
    fitter(values)
    return fitter.rounding()(values)


def error(values: torch.Tensor, got: torch.Tensor) -> float:
    return ((values - got).norm() / values.norm()).item()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("levels", ["uniform", "power_of_two", "codebook"])
@pytest.mark.parametrize("bits", [2, 3, 5])
def test_no_more_values_are_used_than_the_bits_tell_apart(bits: int, levels: str, granularity: str) -> None:
    got = rounded(normal(4, 500), bits, levels=levels, granularity=granularity)
    parts = [got] if granularity == "per_tensor" else list(got)
    counts = [len(part.unique()) for part in parts]
    assert max(counts) <= 2**bits
    assert min(counts) >= 3


def test_powers_of_two_times_a_scale_are_all_there_is() -> None:
    values = normal(3, 1000)
    got = rounded(values, 4, levels="power_of_two")
    for row, exact in zip(got, values, strict=True):
        exponents = torch.log2(row[row != 0].abs() / exact.abs().max())
        assert torch.allclose(exponents, exponents.round(), atol=1e-5)
        assert sorted(set(exponents.round().tolist())) == [-6, -5, -4, -3, -2, -1, 0]


def test_the_nearest_power_of_two_is_taken() -> None:
    values = torch.tensor([[1.0, 0.76, 0.74, 0.5, 0.26, 0.24, 0.126, 0.124, 0.06, 0.0, -0.3, -0.9]])
    wanted = torch.tensor([[1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0, -0.25, -1.0]])
    assert torch.equal(rounded(values, 3, levels="power_of_two"), wanted)


@pytest.mark.parametrize("levels", ["uniform", "power_of_two"])
def test_scales_can_be_powers_of_two(levels: str) -> None:
    values = normal(2, 400)
    got = rounded(values, 4, levels=levels, power_of_two=True)
    smallest = torch.stack([row[row > 0].min() for row in got])
    assert torch.equal(torch.log2(smallest), torch.log2(smallest).round())


def test_a_codebook_beats_even_spacing_where_values_come_in_clumps() -> None:
    clumps = torch.cat([normal(1, 500) * 0.01 - 1, normal(1, 500, seed=1) * 0.01 + 0.2], dim=1)
    assert error(clumps, rounded(clumps, 3, levels="codebook")) < error(clumps, rounded(clumps, 3)) / 10


@pytest.mark.parametrize("bits", [2, 4, 8, 12])
@pytest.mark.parametrize("shape", [(4, 2000), (64, 9), (1, 30000)])
def test_a_codebook_is_never_worse_than_even_spacing(bits: int, shape: tuple[int, int]) -> None:
    values = normal(*shape) ** 3
    spaced = rounded(values, bits, scheme="affine")
    assert error(values, rounded(values, bits, levels="codebook")) <= error(values, spaced) + 1e-6


def test_a_codebook_comes_near_the_best_there_is_for_normal_values() -> None:
    # Max, "Quantizing for minimum distortion", 1960, table I: a mean squared error of 0.1175 with 4 values, 0.03454
    # with 8 and 0.009497 with 16.
    values = normal(1, 200_000)
    for bits, least in ((2, 0.1175), (3, 0.03454), (4, 0.009497)):
        got = rounded(values, bits, levels="codebook")
        assert (values - got).square().mean().item() == pytest.approx(least, rel=0.03)


def test_a_codebook_with_room_for_every_value_is_exact() -> None:
    values = normal(3, 16)
    assert torch.equal(rounded(values, 4, levels="codebook"), values)
    assert codebooks(torch.full((1, 50), 2.5), 4).unique().tolist() == [2.5]


@pytest.mark.parametrize("levels", ["uniform", "power_of_two", "codebook"])
def test_one_scale_per_channel_beats_one_for_all_where_channels_are_uneven(levels: str) -> None:
    values = normal(8, 200) * torch.logspace(-3, 0, 8)[:, None]
    whole, each = (rounded(values, 4, levels=levels, granularity=g) for g in ("per_tensor", "per_channel"))
    assert error(values[0], each[0]) < error(values[0], whole[0]) / 3


@pytest.mark.parametrize("levels", ["uniform", "power_of_two", "codebook"])
@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_channels_are_where_the_axis_says(levels: str, axis: int) -> None:
    values = normal(3, 4, 5)
    got = rounded(values, 3, axis, levels=levels)
    one = values.select(axis, 1)
    assert torch.allclose(got.select(axis, 1), rounded(one.reshape(1, -1), 3, levels=levels).reshape(one.shape))


@pytest.mark.parametrize("observer", ["minmax", "moving_average", "percentile", "mse", "entropy"])
def test_the_recipes_observer_finds_the_range(observer: str) -> None:
    values = normal(2, 4000)
    values[:, 0] = 60.0
    got = rounded(values, 4, observer=observer, percentile=99.0)
    clips = observer in {"percentile", "mse", "entropy"}
    assert (got.max() < 40) == clips


def test_an_activation_is_fitted_to_all_batches() -> None:
    recipe = recipe_of("simulate", activations={"observer": "minmax", "levels": "codebook"})
    fitter = activation_format(recipe, 6).fitter(-1)
    for offset in (0.0, 10.0, 20.0):
        fitter(normal(5000) + offset)
    rounding = fitter.rounding()
    assert all(error(normal(100) + offset, rounding(normal(100) + offset)) < 0.3 for offset in (0.0, 10.0, 20.0))
    assert rounding(torch.tensor([1e6])).item() == pytest.approx(23, abs=3)


def test_what_was_never_seen_or_zero_throughout_is_rounded_to_numbers() -> None:
    zeros = torch.zeros(2, 10)
    for levels in ("uniform", "power_of_two", "codebook"):
        assert torch.equal(rounded(zeros, 4, levels=levels), zeros)

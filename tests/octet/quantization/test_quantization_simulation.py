"""Formats without kernels: what rounding to them costs."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import quantized, recipe_of, samples_of, trace
from torch import nn

from octet import torchscript
from octet.measure import Noise
from octet.quantization import Simulated, simulate, use_engine

if TYPE_CHECKING:
    from torch import Tensor

    from octet.recipe import Recipe

IMAGES = torch.randn(32, 3, 10, 10, generator=torch.Generator().manual_seed(1))


class Residual(nn.Module):
    """Convolutions with batch norms, an addition, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape [n, 5]."""
        x = torch.relu(self.norm(self.stem(x)))
        return self.head(torch.relu(self.deep(x) + x).mean((2, 3)))


@pytest.fixture
def residual() -> nn.Module:
    torch.manual_seed(0)
    return Residual().eval()


def simulated(model: nn.Module, recipe: Recipe, *inputs: Tensor) -> Simulated:
    with use_engine(recipe.engine):
        return simulate(
            trace(model),
            recipe,
            inputs=tuple(tensor[:4] for tensor in inputs),
            calibration=samples_of(*inputs) if recipe.needs_calibration else None,
            on_stage=lambda *_: None,
        )


def simulation(weights: int | None = None, activations: int | None = None, **keys: Any) -> Recipe:
    """A recipe with so many bits, and `keys` the same for both kinds of tensor."""
    return recipe_of(
        "simulate",
        weights={"bits": weights, **keys},
        activations={"bits": activations, "observer": "minmax", **keys},
    )


def sqnr(wanted: Tensor, got: Tensor) -> float:
    noise = Noise()
    noise.add(wanted, got)
    return float("inf") if noise.sqnr_db is None else noise.sqnr_db


def error_of(result: Simulated, layer: str, kind: str) -> float:
    return next(t.relative_error for t in result.tensors if (t.layer, t.kind) == (layer, kind))


@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("levels", ["uniform", "codebook"])
def test_errors_fall_with_every_bit(residual: nn.Module, levels: str, granularity: str) -> None:
    errors: list[list[float]] = []
    for bits in (2, 3, 4, 6, 8, 12, 16):
        result = simulated(residual, simulation(bits, bits, levels=levels, granularity=granularity), IMAGES)
        errors.append([tensor.relative_error for tensor in result.tensors])
        assert {tensor.bits for tensor in result.tensors} == {bits}
    assert len(errors[0]) == 6
    for coarser, finer in pairwise(errors):
        assert all(after < before or after < 1e-6 for before, after in zip(coarser, finer, strict=True))
    assert max(errors[-1]) < 1e-3


def test_powers_of_two_gain_by_bits_until_only_their_spacing_is_left(residual: nn.Module) -> None:
    errors = [
        error_of(simulated(residual, simulation(bits, levels="power_of_two"), IMAGES), "deep", "weight")
        for bits in (2, 3, 4, 8)
    ]
    assert errors == sorted(errors, reverse=True)
    # Of values spread evenly between 1 and 2, the mean square is 7/3, and that of the error 1/12.
    assert errors[-1] == pytest.approx((1 / 12 / (7 / 3)) ** 0.5, rel=0.1)


def test_sixteen_bits_are_next_to_lossless(residual: nn.Module) -> None:
    result = simulated(residual, simulation(16, 16), IMAGES)
    assert sqnr(residual(IMAGES), result.module(IMAGES)) > 80


@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
def test_eight_bits_give_what_the_engine_gives(residual: nn.Module, engine: str) -> None:
    recipe = recipe_of("static", engine)
    real, result = quantized(residual, recipe, IMAGES), simulated(residual, recipe, IMAGES)
    wanted = residual(IMAGES)
    with use_engine(engine):
        given = real.scripted(IMAGES)
    assert sqnr(given, result.module(IMAGES)) > 30
    assert sqnr(wanted, result.module(IMAGES)) == pytest.approx(sqnr(wanted, given), abs=5)


@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
@pytest.mark.parametrize("layer", [nn.Linear(16, 32), nn.GRUCell(16, 8)], ids=["Linear", "GRUCell"])
def test_a_dynamic_kernel_is_simulated_but_for_values_half_way_between_steps(layer: nn.Module, engine: str) -> None:
    model, inputs = nn.Sequential(layer).eval(), torch.randn(16, 16)
    recipe = recipe_of("dynamic", engine)
    real, result = quantized(model, recipe, inputs), simulated(model, recipe, inputs)
    with use_engine(engine):
        assert sqnr(real.scripted(inputs), result.module(inputs)) > sqnr(model(inputs), result.module(inputs)) + 9


def test_seven_bits_are_simulated_where_the_engine_takes_seven(residual: nn.Module) -> None:
    reduced, full = (
        simulated(residual, recipe_of("static", activations={"reduce_range": reduce}), IMAGES)
        for reduce in (True, False)
    )
    assert {t.bits for t in reduced.tensors if t.kind == "activation"} == {7}
    assert {t.bits for t in full.tensors if t.kind == "activation"} == {8}
    assert {t.bits for t in reduced.tensors if t.kind == "weight"} == {8}


def test_batch_norms_are_folded_before_weights_are_rounded(residual: nn.Module) -> None:
    result = simulated(residual, simulation(3, granularity="per_tensor"), IMAGES)
    stem = result.module.get_submodule("stem")
    weight = (stem[0] if isinstance(stem, nn.Sequential) else stem).weight
    assert len(weight.unique()) <= 2**3
    assert not [part for part in result.module.modules() if isinstance(part, nn.BatchNorm2d)]


def test_weights_alone_are_rounded(residual: nn.Module) -> None:
    result = simulated(residual, simulation(4, None), IMAGES)
    assert {tensor.kind for tensor in result.tensors} == {"weight"}
    assert len(result.module.get_submodule("head").weight[0].unique()) <= 2**4


def test_activations_alone_are_rounded(residual: nn.Module) -> None:
    result = simulated(residual, simulation(None, 4), IMAGES)
    assert {tensor.kind for tensor in result.tensors} == {"activation"}
    assert torch.equal(result.module.get_submodule("head").weight, residual.get_submodule("head").weight)
    seen: list[Tensor] = []
    result.module.get_submodule("stem").register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    assert sqnr(residual(IMAGES), result.module(IMAGES)) < 40
    assert len(seen[0].unique()) <= 2**4


def test_just_the_layers_that_are_asked_for_are_rounded(residual: nn.Module) -> None:
    result = simulated(residual, simulation(3, 3), IMAGES)
    everything, wanted = result.module(IMAGES), residual(IMAGES)
    assert result.layers == ("stem", "deep", "head")
    with result.only(()) as module:
        assert sqnr(wanted, module(IMAGES)) > 100
    with result.only(["head"]) as module:
        assert 0 < sqnr(wanted, module(IMAGES)) < 60
        assert torch.allclose(module.get_submodule("deep").weight, residual.get_submodule("deep").weight)
    assert torch.equal(result.module(IMAGES), everything), "outside, all are rounded again"


def test_the_float_model_is_left_as_it_is(residual: nn.Module) -> None:
    before = {name: value.clone() for name, value in residual.state_dict().items()}
    simulated(residual, simulation(2, 2), IMAGES)
    assert all(torch.equal(value, before[name]) for name, value in residual.state_dict().items())


@pytest.mark.parametrize("levels", ["uniform", "power_of_two", "codebook"])
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_what_was_simulated_is_saved_as_torchscript(
    residual: nn.Module, tmp_path: Any, levels: str, granularity: str
) -> None:
    result = simulated(residual, simulation(4, 4, levels=levels, granularity=granularity), IMAGES)
    with use_engine("x86"):
        torchscript.save(torchscript.script(result.module), tmp_path / "model.pt")
        loaded = torch.jit.load(tmp_path / "model.pt")
    assert torch.equal(loaded(IMAGES), result.module(IMAGES))


def test_parameters_are_weighed_by_their_bits(residual: nn.Module) -> None:
    sizes = {
        bits: simulated(residual, simulation(bits, granularity="per_tensor"), IMAGES).parameter_bytes for bits in (2, 8)
    }
    weights = 8 * 3 * 9 + 8 * 8 * 9 + 5 * 8
    biases = 8 + 8 + 5
    assert sizes[8] == weights + 4 * biases + 3 * 8, "each with a scale and a zero point"
    assert sizes[8] - sizes[2] == weights * 6 / 8

"""Scales and zero points are what the recipe asks for."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of
from tiny_models import inputs_of, make
from torch import Tensor, nn

from octet.quantization import reduces_range
from octet.quantization.observers import OBSERVERS

if TYPE_CHECKING:
    from octet.quantization import Quantized


def weight_of(result: Quantized, name: str = "conv1") -> torch.Tensor:
    return result.int8.get_submodule(name).weight()


def activation_scales(result: Quantized) -> list[float]:
    """The output scales of layers, and the scales that functions quantize with."""
    layers = [
        module.scale for _, module in result.int8.named_modules() if isinstance(getattr(module, "scale", None), float)
    ]
    return layers + [buffer.item() for name, buffer in result.int8.named_buffers() if "_scale_" in name]


def is_power_of_two(scale: float) -> bool:
    return float(torch.tensor(scale).log2().remainder(1)) == 0


@pytest.mark.parametrize("method", ["static", "qat"])
@pytest.mark.parametrize("observer", ["minmax", "moving_average", "histogram", "percentile", "mse", "entropy"])
def test_power_of_two_scales_are_powers_of_two(method: str, observer: str) -> None:
    weights = {"power_of_two": True, "observer": "minmax" if observer == "histogram" else observer}
    recipe = recipe_of(method, weights=weights, activations={"power_of_two": True, "observer": observer})
    model, inputs = make("residual"), inputs_of("residual")
    result = quantized(model, recipe, inputs)
    assert all(map(is_power_of_two, weight_of(result).q_per_channel_scales().tolist()))
    assert all(map(is_power_of_two, activation_scales(result)))
    assert len(activation_scales(result)) > 3
    assert sqnr_of(model, result, recipe, inputs) > 15


@pytest.mark.parametrize(("name", "granularity"), [key for key in OBSERVERS if key[0] not in {"mse", "entropy"}])
def test_a_power_of_two_scale_is_the_next_larger_one(name: Any, granularity: str) -> None:
    qscheme = torch.per_channel_affine if granularity == "per_channel" else torch.per_tensor_affine
    data = torch.rand(4, 64) * 3 + 0.5
    plain, rounded = (OBSERVERS[name, granularity](qscheme=qscheme, power_of_two=wanted) for wanted in (False, True))
    for each in (plain, rounded):
        each(data)
    ratio = rounded.calculate_qparams()[0] / plain.calculate_qparams()[0]
    assert (ratio >= 1).all()
    assert (ratio < 2).all()


def test_a_power_of_two_scale_keeps_zero_exact_and_the_range_representable() -> None:
    observer = OBSERVERS["minmax", "per_tensor"](dtype=torch.quint8, power_of_two=True)
    data = torch.linspace(-1.3, 2.9, 100)
    observer(data)
    scale, zero_point = observer.calculate_qparams()
    back = torch.quantize_per_tensor(data, scale.item(), zero_point.item(), torch.quint8).dequantize()
    assert (back - data).abs().max() <= scale / 2 + 1e-6


@pytest.mark.parametrize(("name", "granularity"), OBSERVERS)
@pytest.mark.parametrize("value", [0.0, 3.0, -0.25])
def test_a_constant_has_a_scale_that_represents_it(value: float, name: Any, granularity: str) -> None:
    qscheme = torch.per_channel_affine if granularity == "per_channel" else torch.per_tensor_affine
    observer = OBSERVERS[name, granularity](dtype=torch.quint8, qscheme=qscheme)
    observer(torch.full((2, 50), value))
    scale, zero_point = (each[0].item() for each in observer.calculate_qparams())
    assert scale > 1e-4
    assert torch.quantize_per_tensor(torch.tensor(value), scale, zero_point, torch.quint8).dequantize() == (
        pytest.approx(value, abs=scale / 2 + 1e-6)
    )


@pytest.mark.parametrize(("name", "granularity"), OBSERVERS)
def test_an_observer_that_saw_nothing_says_so_and_gives_a_scale(name: Any, granularity: str) -> None:
    qscheme = torch.per_channel_affine if granularity == "per_channel" else torch.per_tensor_affine
    observer = OBSERVERS[name, granularity](dtype=torch.quint8, qscheme=qscheme)
    observer(torch.empty(0, 4))
    assert not observer.seen
    assert observer.calculate_qparams()[0].item() > 1e-4


def test_without_the_option_scales_are_not_powers_of_two() -> None:
    result = quantized(make("residual"), recipe_of("static"), inputs_of("residual"))
    assert not all(map(is_power_of_two, activation_scales(result)))


@pytest.mark.parametrize(
    ("granularity", "scheme"), list(product(["per_channel", "per_tensor"], ["symmetric", "affine"]))
)
def test_weights_have_the_granularity_and_the_scheme(granularity: str, scheme: str) -> None:
    recipe = recipe_of("static", "fbgemm", weights={"granularity": granularity, "scheme": scheme})
    weight = weight_of(quantized(make("residual"), recipe, inputs_of("residual")))
    if granularity == "per_channel":
        assert weight.qscheme() in {torch.per_channel_affine, torch.per_channel_symmetric}
        points = weight.q_per_channel_zero_points()
    else:
        assert weight.qscheme() in {torch.per_tensor_affine, torch.per_tensor_symmetric}
        points = torch.tensor(weight.q_zero_point())
    assert bool((points == 0).all()) is (scheme == "symmetric")


@pytest.mark.parametrize("method", ["static", "qat"])
def test_symmetric_activations_have_their_zero_at_mid_range(method: str) -> None:
    recipe = recipe_of(method, "onednn", activations={"scheme": "symmetric"})
    model, inputs = make("mlp"), inputs_of("mlp")
    result = quantized(model, recipe, inputs)
    assert result.int8.get_submodule("fc2").zero_point == 127
    assert sqnr_of(model, result, recipe, inputs) > 20


@pytest.mark.parametrize(
    ("engine", "wanted", "reduced"),
    [("x86", "auto", True), ("onednn", "auto", False), ("x86", False, False), ("onednn", True, True)],
)
def test_the_range_is_reduced_as_the_recipe_says_or_the_engine_needs(
    engine: str, wanted: bool | str, reduced: bool
) -> None:
    recipe = recipe_of("static", engine, activations={"reduce_range": wanted, "observer": "minmax"})
    model, inputs = make("mlp"), inputs_of("mlp")
    result = quantized(model, recipe, inputs)
    with torch.no_grad():
        output = model(inputs)
    steps = 127 if reduced else 255
    assert reduces_range(recipe) is reduced
    assert result.int8.get_submodule("fc2").scale == pytest.approx(
        (output.max() - output.min()).item() / steps, rel=1e-4
    )


@pytest.mark.parametrize("shape", ["normal", "skewed", "one bin", "two peaks", "constant", "few"])
def test_the_histogram_finds_the_range_that_torch_finds(shape: str) -> None:
    torch.manual_seed(0)
    data = {
        "normal": torch.randn(4000),
        "skewed": torch.randn(4000).exp(),
        "one bin": torch.cat([torch.zeros(4000), torch.randn(40)]),
        "two peaks": torch.cat([torch.randn(3000), torch.randn(3000) * 0.1 + 9]),
        "constant": torch.full((100,), 2.0),
        "few": torch.tensor([-1.0, 0.5, 3.0]),
    }[shape]
    ours, theirs = OBSERVERS["histogram", "per_tensor"](), torch.ao.quantization.HistogramObserver()
    for batch in data.chunk(3):
        ours(batch)
        theirs(batch)
    assert [each.item() for each in ours.calculate_qparams()] == [each.item() for each in theirs.calculate_qparams()]


class Reshaped(nn.Module):
    """A float call of a list, reshaped, before a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(torch.stack([y, 0.001 * y.exp()], 1).reshape(x.size(0), 16))


def test_a_layer_behind_a_reshaped_float_call_is_int8() -> None:
    torch.manual_seed(0)
    model, inputs, recipe = Reshaped().eval(), torch.randn(32, 8), recipe_of("static")
    result = quantized(model, recipe, inputs)
    assert methods_of(result) == {"a": "static", "b": "static"}
    assert sqnr_of(model, result, recipe, inputs) > 25

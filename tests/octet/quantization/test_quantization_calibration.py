"""Calibration, and what can be wrong with its data."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of
from torch import Tensor, nn

from octet.errors import QuantizationFailedError
from octet.recipe import ObserverName


class Experts(nn.Module):
    """Two layers of which each sees the samples whose first value has its sign."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        chosen, y = x[:, 0] > 0, self.stem(x)
        return self.head(torch.cat([self.one(y[chosen]), self.other(y[chosen.logical_not()])]))


class Sliced(nn.Module):
    """A branch that reads a slice that is empty unless inputs are long."""

    def __init__(self) -> None:
        super().__init__()
        self.short, self.long = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.short(x[:, :6]), self.long(x[:, 6:])], dim=1)


def _one_sided(count: int = 32) -> Tensor:
    inputs = torch.randn(count, 8)
    inputs[:, 0] = inputs[:, 0].abs() + 0.1
    return inputs


@pytest.mark.parametrize("method", ["static", "qat"])
def test_a_layer_that_no_value_reaches_stays_in_float_and_is_named(method: str) -> None:
    torch.manual_seed(0)
    model, inputs, recipe = Experts().eval(), _one_sided(), recipe_of(method)
    result = quantized(model, recipe, inputs)
    assert methods_of(result)["stem"] == methods_of(result)["one"] == "static"
    assert methods_of(result)["other"] == "float"
    assert result.plan.layers["other"].reason == "calibration data never reaches it"
    named = "Calibration data never reaches 'other': left in float, for want of a range."
    assert named in result.plan.warnings
    assert sqnr_of(model, result, recipe, inputs) > 20


def test_an_empty_slice_reaches_nothing() -> None:
    torch.manual_seed(0)
    model, inputs, recipe = Sliced().eval(), torch.randn(16, 6, 4), recipe_of("static")
    result = quantized(model, recipe, inputs)
    assert result.plan.layers["long"].reason == "calibration data never reaches it"
    assert any("'long'" in note for note in result.plan.warnings)
    assert sqnr_of(model, result, recipe, inputs) > 20


def test_a_dynamic_layer_needs_no_range() -> None:
    torch.manual_seed(0)
    recipe = recipe_of("static", layers=[{"name": "other", "method": "dynamic"}])
    result = quantized(Experts().eval(), recipe, _one_sided())
    assert result.plan.layers["other"].method == "dynamic"
    assert not any("never reaches" in note for note in result.plan.warnings)


class Constant(nn.Module):
    """What goes from layer to layer is the same for every sample."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.first, self.relu, self.second = nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)
        nn.init.zeros_(self.first.weight)
        nn.init.constant_(self.first.bias, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.relu(self.first(x)))


@pytest.mark.parametrize("value", [0.0, -1.0, 0.75, 1e-20])
@pytest.mark.parametrize("observer", get_args(ObserverName))
def test_activations_that_are_all_the_same_have_a_usable_scale(observer: str, value: float) -> None:
    torch.manual_seed(0)
    model, inputs = Constant(value).eval(), torch.randn(32, 8)
    recipe = recipe_of("static", activations={"observer": observer})
    result = quantized(model, recipe, inputs)
    with torch.no_grad():
        assert result.scripted(inputs).isfinite().all()
    assert sqnr_of(model, result, recipe, inputs) > 15  # of a single value: it is nowhere near its range's middle


@pytest.mark.parametrize("method", ["static", "qat"])
def test_inputs_that_are_all_zero_go_through(method: str) -> None:
    torch.manual_seed(0)
    model, recipe = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval(), recipe_of(method)
    result = quantized(model, recipe, torch.zeros(16, 8))
    with torch.no_grad():
        assert result.scripted(torch.zeros(16, 8)).isfinite().all()
    assert sqnr_of(model, result, recipe, torch.zeros(16, 8)) > 20


class Root(nn.Module):
    """NaN where the input sums to less than 0, infinite where to 0."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.before(x) / torch.sqrt(x.sum(1, keepdim=True)))


@pytest.mark.parametrize("odd", [-1.0, 0.0])
@pytest.mark.parametrize("method", ["static", "qat"])
def test_a_value_that_is_not_finite_is_an_error_that_names_what_gives_it(method: str, odd: float) -> None:
    torch.manual_seed(0)
    inputs = torch.rand(32, 8)
    inputs[-1] = odd
    with pytest.raises(QuantizationFailedError, match=r"call 'truediv' gives values that are NaN or infinite") as error:
        quantized(Root().eval(), recipe_of(method), inputs)
    assert "leave them out" in str(error.value.hint)


@pytest.mark.parametrize("observer", get_args(ObserverName))
def test_huge_outliers_are_no_error(observer: str) -> None:
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval(), torch.randn(64, 8)
    inputs[5, 3] = 1e8
    result = quantized(model, recipe_of("static", activations={"observer": observer}), inputs)
    with torch.no_grad():
        assert result.scripted(inputs).isfinite().all()

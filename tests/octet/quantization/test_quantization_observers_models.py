"""Models with every observer of the recipe, from calibration to kernels."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, get_args

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of
from tiny_models import inputs_of, make
from torch import Tensor, nn

from octet.quantization.observers import OBSERVERS
from octet.recipe import ObserverName

if TYPE_CHECKING:
    from octet.recipe import Recipe

NAMES = get_args(ObserverName)


def recipe_with(method: str, name: str, engine: str = "x86", scheme: str = "affine") -> Recipe:
    """A recipe whose observers are all `name`, where weights can have it."""
    weights = {"observer": "minmax" if name == "histogram" else name}
    return recipe_of(method, engine, weights=weights, activations={"observer": name, "scheme": scheme})


def test_every_observer_that_a_recipe_can_name_is_there_for_tensors_and_but_for_histograms_for_channels() -> None:
    assert {name for name, granularity in OBSERVERS if granularity == "per_tensor"} == set(NAMES)
    assert {name for name, granularity in OBSERVERS if granularity == "per_channel"} == set(NAMES) - {"histogram"}


@pytest.mark.parametrize(("method", "scheme"), [("static", "affine"), ("static", "symmetric"), ("qat", "affine")])
@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_int8_and_close_with_every_observer(name: str, method: str, scheme: str) -> None:
    model, inputs, recipe = make("residual"), inputs_of("residual"), recipe_with(method, name, scheme=scheme)
    result = quantized(model, recipe, inputs)
    assert {layer for layer, kind in methods_of(result).items() if kind == "static"} == {
        "stem.0", "conv1", "conv2", "fc"
    }  # fmt: skip
    assert sqnr_of(model, result, recipe, inputs) > (15 if name == "entropy" else 20)


@pytest.mark.parametrize("engine", ["onednn", "qnnpack"])
@pytest.mark.parametrize("name", ["percentile", "mse", "entropy"])
def test_our_own_observers_serve_every_engine(name: str, engine: str) -> None:
    model, inputs, recipe = make("mlp"), inputs_of("mlp", 128), recipe_with("static", name, engine)
    assert sqnr_of(model, quantized(model, recipe, inputs), recipe, inputs) > (15 if name == "entropy" else 20)


class Outliers(nn.Module):
    """Its input has a few values that are far from all others, and its layer does not look at them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 4)
        with torch.no_grad():
            self.fc.weight[:, 0] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@pytest.mark.parametrize("name", ["percentile", "entropy"])
def test_clipping_outliers_that_do_not_matter_gains_what_minmax_loses(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = Outliers().eval(), torch.randn(512, 16)
    inputs[::500, 0] = 60.0
    activations = {"observer": name, "percentile": 99.9}
    clipped, extremes = recipe_of("static", activations=activations), recipe_with("static", "minmax")
    gained = sqnr_of(model, quantized(model, clipped, inputs), clipped, inputs)
    assert gained > sqnr_of(model, quantized(model, extremes, inputs), extremes, inputs) + 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_constant_activations_give_a_model_that_runs_and_no_warning(value: float, name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4)).eval()
    with torch.no_grad():
        model[0].bias.fill_(-9.0)  # its ReLU gives nothing but 0
    inputs, recipe = torch.full((8, 3, 4, 4), value), recipe_with("static", name)
    result = quantized(model, recipe, inputs)
    assert methods_of(result)["3"] == "static"
    assert sqnr_of(model, result, recipe, inputs) > 25


@pytest.mark.parametrize(("name", "granularity"), OBSERVERS)
def test_a_copy_of_an_observer_goes_on_where_it_was(name: ObserverName, granularity: str) -> None:
    qscheme = torch.per_channel_affine if granularity == "per_channel" else torch.per_tensor_affine
    observer = OBSERVERS[name, granularity](qscheme=qscheme)
    first, second = torch.randn(4, 50), 3 * torch.randn(4, 50)
    observer(first)
    other = copy.deepcopy(observer)
    for each in (observer, other):
        each(second)
    pairs = zip(observer.calculate_qparams(), other.calculate_qparams(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)

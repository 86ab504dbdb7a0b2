"""Bias correction."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch
from quantizing import quantized, recipe_of
from repairable import Rare, accuracy, int8_accuracy, perceptron_with_biased_rounding
from torch import nn

from octet.quantization import use_engine
from octet.quantization.converted import plain

if TYPE_CHECKING:
    from collections.abc import Callable

CORRECT = {"correct_bias": True}


@pytest.mark.parametrize(
    ("method", "engine"),
    [("static", "x86"), ("static", "onednn"), ("static", "qnnpack"), ("qat", "x86"), ("dynamic", "x86")],
)
def test_rounding_that_is_biased_breaks_a_model_and_correction_rescues_it(method: str, engine: str) -> None:
    model, training = perceptron_with_biased_rounding(), {"learning_rate": 1e-9}
    unrepaired, _ = int8_accuracy(model, recipe_of(method, engine, training=training))
    repaired, result = int8_accuracy(model, recipe_of(method, engine, repairs=CORRECT, training=training))
    assert unrepaired < accuracy(model) - 0.2
    assert repaired > accuracy(model) - 0.01
    assert [(repair.repair, repair.layers) for repair in result.repairs] == [("correct_bias", ("1", "3"))]


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(8, 6), (8,)),
    "linear without a bias": (lambda: nn.Linear(8, 6, bias=False), (8,)),
    "conv 1-D": (lambda: nn.Conv1d(8, 6, 3), (8, 9)),
    "conv 2-D without a bias": (lambda: nn.Conv2d(8, 6, 3, groups=2, bias=False), (8, 7, 7)),
    "conv 2-D and a norm": (lambda: nn.Sequential(nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6)), (8, 7, 7)),
    "conv 3-D": (lambda: nn.Conv3d(8, 6, 2), (8, 3, 3, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(6, 6, 3, bias=False), (6, 5, 5)),
}
COARSE = {"granularity": "per_tensor", "power_of_two": True}


@pytest.mark.parametrize("name", LAYERS)
def test_the_mean_of_each_channel_becomes_that_of_the_float_model(name: str) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    model, inputs = nn.Sequential(make()).eval(), torch.rand(64, *shape) + 1
    shifts = []
    for repairs in ({}, CORRECT):
        recipe = recipe_of("static", weights=COARSE, repairs=repairs)
        result = quantized(model, recipe, inputs)
        with use_engine("x86"), torch.no_grad():
            error = (result.scripted(inputs) - model(inputs)).transpose(0, 1).flatten(1)
        shifts.append(error.mean(1).abs().max())
    assert shifts[1] < shifts[0] / 2


def test_each_layer_is_corrected_behind_those_that_are_corrected_already() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(32, 32) for _ in range(6)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
    blocks = [nn.Sequential(layer, nn.ReLU()) for layer in layers]
    model, inputs = nn.Sequential(*blocks, nn.Linear(32, 8)).eval(), torch.randn(64, 32)
    means = []
    for repairs in ({}, CORRECT):
        result = quantized(model, recipe_of("static", weights=COARSE, repairs=repairs), inputs)
        with use_engine("x86"), torch.no_grad():
            means.append((result.scripted(inputs) - model(inputs)).mean(0).abs().max())
    assert means[1] < means[0] / 4


def test_layers_that_stay_in_float_keep_their_bias() -> None:
    model = perceptron_with_biased_rounding()
    recipe = recipe_of("static", repairs=CORRECT, layers=[{"name": "3", "method": "float"}])
    _, result = int8_accuracy(model, recipe)
    assert result.repairs[0].layers == ("1",)
    assert torch.equal(plain(result.observed.get_submodule("3")).bias, model[3].bias)


def test_the_error_of_a_constant_is_told_as_a_share_of_it() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(8, 8)).eval(), torch.full((16, 8), 0.37)
    (repair,) = quantized(model, recipe_of("static", repairs=CORRECT), inputs).repairs
    found = re.search(r"is (\S+) times the root mean square", repair.summary)
    assert found
    assert 0 < float(found[1]) < 1


def test_the_model_given_is_left_as_it_is() -> None:
    model = perceptron_with_biased_rounding()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    int8_accuracy(model, recipe_of("static", repairs=CORRECT))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("method", ["static", "qat", "dynamic"])
def test_a_layer_that_no_sample_reaches_is_left_alone(method: str) -> None:
    torch.manual_seed(0)
    model, inputs, recipe = Rare().eval(), torch.randn(32, 8), recipe_of(method, repairs=CORRECT)
    result = quantized(model, recipe, inputs)
    assert result.repairs[0].layers == ("stem", "head")
    inputs[0, 0] = 99.0
    with use_engine("x86"), torch.no_grad():
        assert result.scripted(inputs).isfinite().all()

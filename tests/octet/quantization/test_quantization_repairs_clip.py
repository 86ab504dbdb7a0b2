"""Clipping of outliers among weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, samples_of, sqnr_of, trace
from repairable import accuracy, int8_accuracy, perceptron_with_outliers
from tiny_models import inputs_of, make
from torch import nn

from octet.quantization.converted import plain
from octet.quantization.plan import LayerPlan
from octet.quantization.qconfigs import QConfigs
from octet.quantization.repairs import Rounding, clip_weights

if TYPE_CHECKING:
    from octet.report import Repair

CLIP = {"clip_weights": True}


@pytest.mark.parametrize("weights", [{}, {"observer": "mse"}, {"granularity": "per_tensor"}])
def test_outliers_that_do_nothing_break_a_model_and_clipping_rescues_it(weights: dict[str, Any]) -> None:
    model = perceptron_with_outliers()
    before, unrepaired = int8_accuracy(model, recipe_of("static", weights=weights))
    repaired, result = int8_accuracy(model, recipe_of("static", weights=weights, repairs=CLIP))
    assert methods_of(unrepaired)["1"] == methods_of(result)["1"] == "static"
    assert before < 0.3
    assert repaired > accuracy(model) - 0.01
    assert [(repair.repair, repair.layers) for repair in result.repairs] == [("clip_weights", ("1",))]


def _clipped(layer: nn.Module, *inputs: torch.Tensor, granularity: str = "per_channel") -> tuple[nn.Module, Repair]:
    recipe = recipe_of("static", weights={"granularity": granularity})
    config = QConfigs(recipe).weight_of(LayerPlan(type(layer), "static"))
    rounding = Rounding(config.rounded, per_channel=config.section.granularity == "per_channel")
    samples = samples_of(*inputs) if inputs else None
    graph, repair = clip_weights(trace(nn.Sequential(layer)), {"0": rounding}, samples, batch_size=8)
    return graph.get_submodule("0"), repair


def test_an_outlier_that_matters_stays() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(16, 8)
    with torch.no_grad():
        layer.weight[:, 0] = 100.0
    clipped, repair = _clipped(layer, torch.randn(64, 16))
    assert repair.layers == ()
    assert torch.equal(clipped.weight, layer.weight)
    assert "No weight has outliers" in repair.summary


def test_only_the_channel_that_has_outliers_is_clipped() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(16, 8), torch.randn(64, 16)
    inputs[:, 0] = 0.0
    with torch.no_grad():
        layer.weight[3, 0] = 100.0
    clipped, repair = _clipped(layer, inputs)
    changed = (clipped.weight != layer.weight).nonzero().tolist()
    assert changed == [[3, 0]]
    assert clipped.weight[3, 0] < 1
    assert repair.layers == ("0",)


LAYERS = {
    "linear": (lambda: nn.Linear(6, 8), (6,), "per_channel"),
    "conv 1-D": (lambda: nn.Conv1d(6, 8, 3), (6, 9), "per_channel"),
    "conv 2-D in groups": (lambda: nn.Conv2d(6, 8, 3, groups=2, bias=False), (6, 5, 5), "per_channel"),
    "conv 3-D": (lambda: nn.Conv3d(6, 8, 2), (6, 3, 3, 3), "per_tensor"),
    "transposed": (lambda: nn.ConvTranspose2d(6, 8, 3, groups=2), (6, 5, 5), "per_channel"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer_gives_less_error_than_unclipped(name: str) -> None:
    torch.manual_seed(0)
    make_layer, shape, granularity = LAYERS[name]
    layer, inputs = make_layer(), torch.randn(32, *shape)
    inputs[:, 0] = 0.0
    with torch.no_grad():
        (layer.weight if "transposed" in name else layer.weight[:4].transpose(0, 1))[0] = 50.0
    clipped, repair = _clipped(layer, inputs, granularity=granularity)
    config = QConfigs(recipe_of("static", weights={"granularity": granularity})).weight_of(
        LayerPlan(type(layer), "static")
    )
    with torch.no_grad():
        wanted, errors = layer(inputs), []
        for weight in (layer.weight, clipped.weight):
            layer.weight.copy_(config.rounded(weight))
            errors.append((layer(inputs) - wanted).square().sum())
    assert repair.layers == ("0",)
    assert errors[1] < errors[0] / 100


def test_without_data_the_error_is_that_of_the_weights() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(2**16, 1)
    with torch.no_grad():
        nn.init.normal_(layer.weight)
        layer.weight[0, 0] = 10.0  # finer steps for 65,535 others gain more than it loses
    clipped, repair = _clipped(layer)
    assert repair.layers == ("0",)
    assert clipped.weight[0, 0] < 10
    assert "squared error of the weights" in repair.summary


@pytest.mark.parametrize("method", ["static", "qat", "dynamic"])
def test_it_goes_with_every_method(method: str) -> None:
    model, inputs, recipe = make("residual"), inputs_of("residual"), recipe_of(method, repairs=CLIP)
    result = quantized(model, recipe, inputs)
    assert [repair.repair for repair in result.repairs] == ["clip_weights"]
    assert sqnr_of(model, result, recipe, inputs) > 25


def test_a_layer_that_stays_in_float_is_not_clipped() -> None:
    model = perceptron_with_outliers()
    recipe = recipe_of("static", repairs=CLIP, layers=[{"name": "1", "method": "float"}])
    _, result = int8_accuracy(model, recipe)
    assert result.repairs[0].layers == ()
    assert torch.equal(plain(result.observed.get_submodule("1")).weight, model[1].weight)


def test_the_float_graph_that_layers_are_compared_with_is_not_clipped() -> None:
    model = perceptron_with_outliers()
    _, result = int8_accuracy(model, recipe_of("static", repairs=CLIP))
    assert result.source.get_submodule("1").weight.max() == model[1].weight.max()

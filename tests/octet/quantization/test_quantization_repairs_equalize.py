"""Cross-layer equalization: the float model computes the same, and its channels take to eight bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from channel_models import MODELS, UNSCALABLE, conv, uneven
from quantizing import quantized, recipe_of, samples_of, sqnr_of, trace
from repairable import Rare, accuracy, int8_accuracy, uneven_separable
from torch import nn

from octet.quantization.repairs import equalize
from octet.quantization.rewrite import rewrite
from octet.quantization.shapes import shapes_of

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from octet.report import Repair

EQUALIZE = {"equalize": True}


def _equalized(model: nn.Module, inputs: torch.Tensor, *, watched: bool = True) -> tuple[GraphModule, Repair]:
    graph = trace(model)
    rewritten = rewrite(graph, recipe_of("static", repairs=EQUALIZE), shapes_of(graph, (inputs[:4],)))
    samples = samples_of(inputs) if watched else None
    return equalize(rewritten.module, (inputs[:4],), samples, batch_size=8)


def _distance(one: nn.Module, other: nn.Module, inputs: torch.Tensor) -> float:
    """The largest difference between the outputs, relative to the largest output."""
    with torch.no_grad():
        wanted, given = one(inputs), other(inputs)
    return ((wanted - given).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_uneven_depthwise_convolutions_collapse_without_and_work_with_it(granularity: str) -> None:
    model, weights = uneven_separable(), {"granularity": granularity}
    plain, _ = int8_accuracy(model, recipe_of("static", weights=weights))
    repaired, result = int8_accuracy(model, recipe_of("static", weights=weights, repairs=EQUALIZE))
    assert plain < 0.5
    assert repaired > accuracy(model) - 0.01
    assert [repair.repair for repair in result.repairs] == ["equalize"]
    assert result.repairs[0].layers == ("0", "3", "6", "9", "12", "17")


@pytest.mark.parametrize("name", MODELS)
def test_the_float_model_computes_the_same(name: str) -> None:
    make, shape, layers = MODELS[name]
    torch.manual_seed(0)
    model, inputs = uneven(make()), torch.randn(8, *shape)
    graph, repair = _equalized(model, inputs)
    assert repair.layers == layers
    assert _distance(model, graph, torch.randn(8, *shape)) < 1e-5


@pytest.mark.parametrize("name", UNSCALABLE)
def test_channels_that_meet_something_else_keep_their_scale(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = uneven(UNSCALABLE[name]()), torch.randn(8, 3, 8, 8)
    graph, repair = _equalized(model, inputs)
    assert repair.layers == ()
    assert "No channels" in repair.summary
    assert _distance(model, graph, inputs) == 0


def test_what_the_example_reaches_with_no_sample_computes_the_same() -> None:
    torch.manual_seed(0)
    model, inputs = uneven(Rare()), torch.randn(16, 8)
    graph, repair = _equalized(model, inputs)
    inputs[0, 0] = 99.0
    assert repair.layers == ()
    assert _distance(model, graph, inputs) < 1e-6


def test_the_ranges_of_both_weights_of_a_channel_become_the_same() -> None:
    torch.manual_seed(0)
    graph, _ = _equalized(uneven(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))), torch.randn(8, 16))
    with torch.no_grad():
        one, other = (getattr(graph, name).weight.abs() for name in ("0", "2"))
    ratios = (one.amax(1) / one.max()) / (other.amax(0) / other.max())
    assert ratios.log().std() < 0.05


def test_the_model_given_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    model, inputs = uneven(nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 4))), torch.randn(8, 3, 8, 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quantized(model, recipe_of("static", repairs=EQUALIZE), inputs)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def _clamped() -> nn.Module:
    """Two channels that reach 6 and two that stay far below it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU6(), nn.Linear(4, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor([10.0, 10.0, 0.01, 0.02])))
        model[0].bias.zero_()
    return model.eval()


def test_channels_that_reach_a_clamp_keep_their_scale_and_others_do_not_reach_it() -> None:
    model, inputs = _clamped(), torch.randn(64, 4).clamp(-3, 3)
    graph, repair = _equalized(model, inputs)
    assert _distance(model, graph, inputs) < 1e-6
    rows = getattr(graph, "0").weight.diagonal()
    assert rows[:2].tolist() == [10.0, 10.0]
    assert (rows[2:] > 10 * model[0].weight.diagonal()[2:]).all()
    assert "Of 4 channels that ReLU6 or Hardtanh clamps, 2 kept their scale." in repair.summary


def test_without_data_all_channels_of_a_clamp_keep_their_scale() -> None:
    _, repair = _equalized(_clamped(), torch.randn(8, 4), watched=False)
    assert repair.layers == ()
    assert "Of 4 channels that ReLU6 or Hardtanh clamps, 4 kept their scale." in repair.summary


def test_a_channel_that_is_little_but_its_bias_does_not_outgrow_its_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)).eval()
    with torch.no_grad():
        model[0].weight[0], model[0].bias[0] = 1e-7, 1.0
    inputs = torch.randn(64, 16)
    graph, _ = _equalized(model, inputs)
    with torch.no_grad():
        before, after = model[0](inputs), getattr(graph, "0")(inputs)
    assert after.abs().max() < 10 * before.abs().max()


@pytest.mark.parametrize(
    ("method", "engine"), [("static", "x86"), ("static", "onednn"), ("qat", "x86"), ("dynamic", "qnnpack")]
)
def test_it_goes_with_every_method_and_engine(method: str, engine: str) -> None:
    torch.manual_seed(0)
    model = uneven(nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 8)))
    inputs, recipe = torch.randn(64, 16), recipe_of(method, engine, repairs=EQUALIZE)
    result = quantized(model, recipe, inputs)
    assert result.repairs[0].layers == ("0", "3")
    assert sqnr_of(model, result, recipe, inputs) > 20

"""Which share of a model's time each layer takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import torch
from quantizing import quantized, recipe_of
from torch import fx, nn

from octet.analysis.latency import latency_shares
from octet.quantization import use_engine

if TYPE_CHECKING:
    from torch import Tensor

INPUTS = torch.ones(4, 6)


class Slow(nn.Module):
    """Takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """`x`, later."""
        self.calls += 1
        time.sleep(self.seconds)
        return x


def graph_of(**layers: nn.Module) -> fx.GraphModule:
    """The layers in a row, each called by its name and none looked into."""
    graph = fx.Graph()
    value = graph.placeholder("x")
    for name in layers:
        value = graph.call_module(name, (value,))
    graph.output(value)
    return fx.GraphModule(layers, graph)


def test_shares_are_those_of_the_time_that_passes() -> None:
    model = graph_of(long=Slow(0.06), short=Slow(0.02))
    (shares,) = latency_shares((model,), {"long": "long", "short": "short"}, (INPUTS,), 0.0)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["long"] > shares["short"] > 0


def test_what_is_no_layer_takes_its_share_of_the_whole() -> None:
    model = graph_of(layer=Slow(0.001), other=Slow(0.03))
    (shares,) = latency_shares((model,), {"layer": "layer"}, (INPUTS,), 0.0)
    assert list(shares) == ["layer"]
    assert shares["layer"] < 0.9


def test_calls_of_one_layer_add_up() -> None:
    model = graph_of(layer=Slow(0.01), layer_call_2=Slow(0.01))
    (shares,) = latency_shares((model,), {"layer": "layer", "layer_call_2": "layer"}, (INPUTS,), 0.0)
    assert shares == {"layer": 1.0}


def test_conversions_count_for_the_layer_that_they_are_for() -> None:
    model = nn.Sequential(nn.Linear(6, 6)).eval()
    int8 = quantized(model, recipe_of("static", "onednn"), INPUTS).int8
    assert [node.op for node in int8.graph.nodes if node.target in {"dequantize", torch.quantize_per_tensor}] == [
        "call_function", "call_method",
    ]  # fmt: skip
    with use_engine("onednn"):
        (shares,) = latency_shares((int8,), {"0": "0"}, (INPUTS,), 0.0)
    assert shares == pytest.approx({"0": 1.0})


def test_models_take_turns_until_the_time_is_up_but_once_at_least() -> None:
    models = [graph_of(layer=Slow(0.0)) for _ in range(2)]
    latency_shares(tuple(models), {}, (INPUTS,), 0.0)
    layers = [model.get_submodule("layer") for model in models]
    assert [layer.calls for layer in layers] == [2, 2], "a warm-up and a round"
    latency_shares(tuple(models), {}, (INPUTS,), 0.05)
    assert layers[0].calls == layers[1].calls > 4

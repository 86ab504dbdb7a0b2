"""Which layers a model can least afford to have rounded."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from quantizing import recipe_of, samples_of, trace
from torch import nn

from octet.analysis import rank_layers, sensitivity
from octet.analysis.sensitivity import MOST_POINTS, MOST_SAMPLES
from octet.quantization import Simulated, simulate, use_engine

if TYPE_CHECKING:
    from torch import Tensor

    from octet.recipe import Recipe


class Mlp(nn.Module):
    """A chain of linear layers, one of which has weights that dwarf all others, and meet a zero."""

    def __init__(self, depth: int, sensitive: int | None = None) -> None:
        super().__init__()
        linears = [nn.Linear(8, 8) for _ in range(depth)]
        if sensitive is not None:
            with torch.no_grad():
                linears[sensitive].weight[:, 0] = torch.tensor([1000.0, -1000.0] * 4)
        self.layers = nn.ModuleList(linears)

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last layer."""
        for layer in self.layers:
            x = layer(torch.tanh(x) * (torch.arange(8) > 0))
        return x


INPUTS = torch.randn(96, 8, generator=torch.Generator().manual_seed(0))
LABELS = INPUTS[:, 1:4].argmax(1)


def simulated(model: nn.Module, recipe: Recipe) -> Simulated:
    with use_engine("x86"):
        return simulate(
            trace(model), recipe, inputs=(INPUTS[:4],), calibration=samples_of(INPUTS), on_stage=lambda *_: None
        )


def test_a_layer_made_sensitive_on_purpose_is_ranked_first() -> None:
    torch.manual_seed(0)
    for sensitive in (0, 2):
        model = Mlp(4, sensitive).eval()
        ranking = rank_layers(simulated(model, recipe_of("static")), trace(model), samples_of(INPUTS), lambda *_: None)
        assert ranking[0].name == f"layers.{sensitive}"
        assert ranking[0].sqnr_db is not None
        assert all(layer.sqnr_db is None or layer.sqnr_db > ranking[0].sqnr_db + 10 for layer in ranking[1:])
        assert {layer.name for layer in ranking} == {f"layers.{place}" for place in range(4)}


def test_the_curve_begins_with_all_layers_rounded_and_ends_at_fp32_exactly() -> None:
    torch.manual_seed(0)
    model = Mlp(5, sensitive=2).eval()
    rounded = simulated(model, recipe_of("static"))
    samples = samples_of(INPUTS, targets=LABELS)
    found = sensitivity(rounded, trace(model), samples, lambda *_: None)
    assert [point.float_layers for point in found.curve] == [0, 1, 2, 3, 4, 5]
    right = (model(INPUTS[:MOST_SAMPLES]).argmax(1) == LABELS[:MOST_SAMPLES]).double().mean().item()
    assert found.curve[-1].sqnr_db is None
    assert found.curve[-1].score == right
    all_rounded = rounded.module(INPUTS[:MOST_SAMPLES]).argmax(1) == LABELS[:MOST_SAMPLES]
    assert found.curve[0].score == all_rounded.double().mean().item()
    first, second = found.curve[0].sqnr_db, found.curve[1].sqnr_db
    assert first is not None
    assert second is not None
    assert second > first + 10, "the most sensitive layer is the first to be left in float"


def test_the_model_is_run_as_often_as_is_said() -> None:
    torch.manual_seed(0)
    model = trace(Mlp(3).eval())
    rounded = simulated(model, recipe_of("static"))
    runs: list[int] = []
    steps: list[tuple[int, int]] = []
    for graph in (model, rounded.module):
        graph.register_forward_hook(lambda _module, inputs, _output: runs.append(len(inputs[0])))
    found = sensitivity(rounded, model, samples_of(INPUTS), lambda *step: steps.append(step))
    assert found.samples == MOST_SAMPLES
    assert sum(runs) == found.passes * found.samples
    assert found.passes == 2 + 3 + 3
    assert steps[-1] == (7, 7)
    assert steps == sorted(steps)


def test_the_curve_of_a_deep_model_has_points_at_equal_ratios() -> None:
    torch.manual_seed(0)
    model = Mlp(40).eval()
    found = sensitivity(simulated(model, recipe_of("static")), trace(model), samples_of(INPUTS), lambda *_: None)
    counts = [point.float_layers for point in found.curve]
    assert counts == sorted(set(counts))
    assert counts[:4] == [0, 1, 2, 3]
    assert counts[-1] == 40
    assert len(counts) <= MOST_POINTS
    assert max(later / before for before, later in pairwise(counts[3:])) < 1.5


@pytest.mark.parametrize("method", ["dynamic", "simulate"])
def test_layers_are_ranked_by_the_rounding_of_the_method(method: str) -> None:
    torch.manual_seed(0)
    model = Mlp(3, sensitive=1).eval()
    ranking = rank_layers(simulated(model, recipe_of(method)), trace(model), samples_of(INPUTS), lambda *_: None)
    assert ranking[0].name == "layers.1"


def test_a_model_without_layers_to_round_has_a_curve_of_one_point() -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1

    found = sensitivity(simulated(Sum(), recipe_of("static")), trace(Sum()), samples_of(INPUTS), lambda *_: None)
    assert found.layers == ()
    assert [(point.float_layers, point.sqnr_db) for point in found.curve] == [(0, None)]


def test_a_layer_whose_rounding_gives_no_number_is_ranked_first() -> None:
    class Division(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine = nn.Linear(8, 8)
            self.fatal = nn.Linear(8, 8, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return torch.add(self.fine(x), 1e-3 / self.fatal(torch.ones_like(x)))

    model = Division().eval()
    with torch.no_grad():
        model.fatal.weight.fill_(0.0)
        model.fatal.weight[:, 0] = 1e-4
        model.fatal.weight[:, 1:3] = torch.tensor([1.0, -1.0])
    recipe = recipe_of("simulate", weights={"bits": 4})
    ranking = rank_layers(simulated(model, recipe), trace(model), samples_of(INPUTS), lambda *_: None)
    assert ranking[0].name == "fatal"
    assert ranking[0].sqnr_db is not None
    assert ranking[0].sqnr_db < -100

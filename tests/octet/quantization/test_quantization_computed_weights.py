"""Layers whose weights the source computes, or multiplies with by hand, become int8 like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import octet
from octet.engines import ENGINE_NAMES

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, fx

    from octet.program import Program


class Handmade(nn.Module):
    """Weight norm, a product with a matrix as in GPT-2, and one with a transposed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv1d(8, 8, 3, padding=1))
        self.weight = nn.Parameter(torch.randn(8, 12))
        self.bias = nn.Parameter(torch.randn(12))
        self.up = nn.Linear(12, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Of (batch, 8, time) gives (batch, time, 12)."""
        y = self.conv(x).transpose(1, 2)
        y = torch.addmm(self.bias, y.reshape(-1, 8), self.weight).view(y.shape[0], -1, 12)
        return self.up(y.relu()) @ self.up.weight


class Hyper(nn.Module):
    """One layer makes the weight of another."""

    def __init__(self) -> None:
        super().__init__()
        self.maker, self.last = nn.Linear(8, 64), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Of (batch, 8) gives (batch, 4)."""
        return self.last(functional.linear(x, self.maker(x.mean(0, keepdim=True)).view(8, 8)))


def read(model: nn.Module, x: Tensor, folder: Path) -> Program:
    """The model, exported and loaded."""
    return octet.load(octet.export(model.eval(), x, folder / "model.pt2"))


@pytest.fixture(scope="module")
def handmade(tmp_path_factory: pytest.TempPathFactory) -> tuple[fx.GraphModule, Tensor]:
    """The module and inputs for it."""
    torch.manual_seed(0)
    x = torch.randn(16, 8, 10)
    return read(Handmade(), x, tmp_path_factory.mktemp("handmade")).module(), x


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("method", ["dynamic", "static", "qat"])
def test_every_layer_with_a_computed_weight_runs_in_int8(
    handmade: tuple[fx.GraphModule, Tensor], method: str, engine: str
) -> None:
    module, x = handmade
    recipe = recipe_of(method, engine)
    result = quantized(module, recipe, x)
    int8 = {name for name, kind in methods_of(result).items() if kind != "float"}
    assert int8 == {"conv", "linear", "up", "up_1"} - ({"conv"} if method == "dynamic" else set())
    assert sqnr_of(module, result, recipe, x) > 20


def test_training_changes_the_computed_weight(handmade: tuple[fx.GraphModule, Tensor]) -> None:
    module, x = handmade
    observed = quantized(module, recipe_of("qat"), x).observed
    before, after = module.get_submodule("conv").weight, observed.get_submodule("conv").weight
    assert not torch.equal(before, after)


def test_a_weight_that_a_layer_makes_of_the_input_is_said_to_stay_in_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 8)
    result = quantized(read(Hyper(), x, tmp_path).module(), recipe_of("static"), x)
    assert "The call 'linear' was left in float: its weight is computed at every call." in result.plan.warnings
    assert {methods_of(result)[name] for name in ("maker", "last")} == {"static"}

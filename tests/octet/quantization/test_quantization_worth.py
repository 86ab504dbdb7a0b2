"""What is left in float because int8 would make it less exact and no faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of
from torch import Tensor, nn
from torch.nn import functional

from octet.kernels import KEPT_IN_FLOAT

if TYPE_CHECKING:
    from octet.quantization import Quantized


class Transformer(nn.Module):
    """Two layers of an encoder, with the norms before what they norm."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for _ in range(2):
            layers = {name: nn.Linear(32, 32) for name in ("query", "key", "value", "out")}
            layers |= {"up": nn.Linear(32, 64), "down": nn.Linear(64, 32)}
            self.blocks.append(nn.ModuleDict({**layers, "norm1": nn.LayerNorm(32), "norm2": nn.LayerNorm(32)}))
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            y = block["norm1"](x)
            scores = torch.matmul(block["query"](y), block["key"](y).transpose(1, 2)) / 6.0
            x = x + self.drop(block["out"](torch.matmul(torch.softmax(scores, -1), block["value"](y))))
            x = x + block["down"](self.drop(functional.gelu(block["up"](block["norm2"](x)))))
        return self.head(x.mean(1))


class Residual(nn.Module):
    """Additions, a pool and a view between convolutions, and one addition that gives the output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = (nn.Conv2d(channels, 8, 3, padding=1) for channels in (3, 8, 8))
        self.pool, self.head = nn.AvgPool2d(2), nn.Linear(8 * 16, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        x = functional.relu(torch.add(self.one(x), x))
        x = torch.add(self.two(x), x)
        y = self.head(torch.flatten(self.pool(x), 1))
        return torch.add(y, y.tanh())


def kernels_of(result: Quantized) -> set[str]:
    """The functions of torch's int8 kernels that the graph calls."""
    return {str(node.target) for node in result.int8.graph.nodes if str(node.target).startswith("quantized.")}


@pytest.mark.parametrize(("engine", "least"), [("x86", 30), ("fbgemm", 30), ("onednn", 30)])
def test_a_transformer_loses_little_and_each_of_its_linear_layers_is_int8(engine: str, least: float) -> None:
    torch.manual_seed(0)
    model, inputs, recipe = Transformer().eval(), torch.randn(32, 12, 32), recipe_of("static", engine)
    result = quantized(model, recipe, inputs)
    int8 = {name for name, method in methods_of(result).items() if method == "static"}
    assert int8 == {name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    assert sqnr_of(model, result, recipe, inputs) > least
    assert not kernels_of(result)
    assert result.plan.layers["blocks.0.norm1"].reason == KEPT_IN_FLOAT["LayerNorm"]


@pytest.mark.parametrize("engine", ["x86", "fbgemm"])
def test_a_linear_layer_between_floats_gives_floats(engine: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.GELU(), nn.Linear(16, 4), nn.GELU()).eval()
    inputs, recipe = torch.randn(64, 16), recipe_of("static", engine)
    result = quantized(model, recipe, inputs)
    assert not [node for node in result.int8.graph.nodes if "quantize" in str(node.target)]
    assert sqnr_of(model, result, recipe, inputs) > 30


def test_additions_between_convolutions_stay_in_int8_and_others_do_not() -> None:
    torch.manual_seed(0)
    model, inputs, recipe = Residual().eval(), torch.randn(16, 3, 8, 8), recipe_of("static")
    result = quantized(model, recipe, inputs)
    int8 = [node.name for node in result.int8.graph.nodes if str(node.target).startswith("quantized.add")]
    left = [unit for unit in result.plan.float_calls if "add" in unit]
    assert (len(int8), left) == (2, ["call:add_2"])
    assert sqnr_of(model, result, recipe, inputs) > 25


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.LayerNorm(8), (16, 6, 8)), (nn.InstanceNorm1d(8, affine=True), (16, 8, 6)), (nn.Sigmoid(), (16, 6, 8))],
)
def test_a_rule_has_its_way_all_the_same(layer: nn.Module, shape: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Linear(shape[-1], shape[-1]), layer, nn.GELU()).eval()
    inputs, kind = torch.randn(*shape), type(layer).__name__
    asked = recipe_of("static", layers=[{"type": kind, "method": "static"}])
    plain, forced = (quantized(model, recipe, inputs) for recipe in (recipe_of("static"), asked))
    assert plain.plan.layers["1"].method == "float"
    assert plain.plan.layers["1"].reason
    assert forced.plan.layers["1"].method == "static"
    # What it gives is rounded to 8 bits.
    assert [node for node in forced.int8.graph.nodes if node.target == "dequantize"]
    assert not [node for node in plain.int8.graph.nodes if node.target == "dequantize"]


def test_a_dropout_between_floats_rounds_nothing() -> None:
    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.norm, self.head = nn.Dropout(), nn.LayerNorm(8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.drop(x.exp()).reshape(-1, 2, 8).transpose(0, 1)))

    recipe = recipe_of("static", layers=[{"name": "head", "method": "float"}])
    model, inputs = Stream().eval(), torch.randn(8, 16)
    result = quantized(model, recipe, inputs)
    with torch.no_grad():
        assert torch.equal(result.scripted(inputs), model(inputs))

"""Models that FX graph mode gets wrong on its own."""

from __future__ import annotations

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of
from torch import Tensor, nn
from torch.nn import functional

from octet.engines import ENGINE_NAMES
from octet.errors import InvalidModelError


class Pool3d(nn.Module):
    """qnnpack has no max_pool3d."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv3d(1, 2, 1), nn.MaxPool3d(2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.conv(x)).mean((2, 3, 4)))


class Circular(nn.Module):
    """No engine packs a convolution with circular padding: the conversion itself fails."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.round, self.fc = (
            nn.Conv1d(1, 4, 3),
            nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular"),
            nn.Linear(4, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.round(self.first(x)).mean(2))


class ComputedWeight(nn.Module):
    """FX stops at a weight that is joined in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.upper, self.lower = nn.Parameter(torch.randn(4, 8)), nn.Parameter(torch.randn(4, 8))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.fc(x), torch.cat([self.upper, self.lower]))


class SharedLayer(nn.Module):
    """One layer, followed by a ReLU in one place only."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.relu = nn.Linear(8, 8), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.relu(self.fc(x)), self.fc(x * 4))


class SharedActivation(nn.Module):
    """ResNet's block: one ReLU module, after a convolution and after the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.bn, self.relu, self.fc = nn.BatchNorm2d(3), nn.ReLU(), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.relu(self.bn(self.conv1(x))))
        return self.fc(self.relu(torch.add(y, x)).mean((2, 3)))


class ReadAddend(nn.Module):
    """The addend of conv + add is read again later; oneDNN's fused kernel overwrites it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        return torch.add(self.relu(torch.add(self.conv2(y), y)), y)


def test_a_layer_without_a_kernel_stays_in_float_and_says_why() -> None:
    model, inputs = Pool3d().eval(), torch.randn(16, 1, 4, 4, 4)
    recipe = recipe_of("static", "qnnpack", layers=[{"name": "pool", "method": "static"}])
    result = quantized(model, recipe, inputs)
    assert methods_of(result)["fc"] == "static"
    assert "max_pool3d" in str(result.plan.layers["pool"].reason)
    assert sqnr_of(model, result, recipe, inputs) > 20


@pytest.mark.parametrize("method", ["static", "qat"])
def test_a_layer_that_cannot_be_converted_is_found_among_the_others(method: str) -> None:
    model, inputs, recipe = Circular().eval(), torch.randn(16, 1, 8), recipe_of(method)
    result = quantized(model, recipe, inputs)
    assert methods_of(result) == {"first": "static", "round": "float", "fc": "static"}
    assert "circular" in str(result.plan.layers["round"].reason)
    assert sqnr_of(model, result, recipe, inputs) > 20


@pytest.mark.parametrize("method", ["dynamic", "static", "qat"])
def test_a_computed_weight_stays_in_float(method: str) -> None:
    model, inputs, recipe = ComputedWeight().eval(), torch.randn(16, 8), recipe_of(method)
    result = quantized(model, recipe, inputs)
    assert methods_of(result)["fc"] != "float"
    assert "its weight is computed" in result.plan.warnings[0]
    assert sqnr_of(model, result, recipe, inputs) > 20


@pytest.mark.parametrize("method", ["dynamic", "static", "qat"])
def test_a_layer_that_is_called_twice_is_right_in_both_places(method: str) -> None:
    model, inputs, recipe = SharedLayer().eval(), torch.randn(32, 8), recipe_of(method, "onednn")
    result = quantized(model, recipe, inputs)
    assert sqnr_of(model, result, recipe, inputs) > 25


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("method", ["dynamic", "static", "qat"])
def test_an_activation_that_is_called_twice_is_no_obstacle(method: str, engine: str) -> None:
    model, inputs, recipe = SharedActivation().eval(), torch.randn(16, 3, 8, 8), recipe_of(method, engine)
    result = quantized(model, recipe, inputs)
    assert methods_of(result)["fc"] != "float"
    assert sqnr_of(model, result, recipe, inputs) > 20


def test_a_rule_for_a_shared_layer_holds_for_all_its_calls() -> None:
    recipe = recipe_of("static", layers=[{"name": "fc", "method": "float"}])
    result = quantized(SharedLayer().eval(), recipe, torch.randn(16, 8))
    assert set(methods_of(result).values()) == {"float"}
    assert result.plan.warnings == ("Nothing was quantized: the report gives the reason for each layer.",)


def test_under_dynamic_a_layer_that_is_called_alike_is_packed_once() -> None:
    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.fc(torch.tanh(self.fc(x))))

    assert methods_of(quantized(Repeated().eval(), recipe_of("dynamic"), torch.randn(8, 8))) == {"fc": "dynamic"}


def test_an_addend_that_is_read_again_is_not_overwritten() -> None:
    torch.manual_seed(0)
    model, inputs, recipe = ReadAddend().eval(), torch.randn(16, 3, 8, 8), recipe_of("static", "onednn")
    result = quantized(model, recipe, inputs)
    assert type(result.int8.get_submodule("conv2")).__name__ == "ConvAddReLU2d"
    assert sqnr_of(model, result, recipe, inputs) > 30


def test_a_model_that_cannot_be_scripted_fails_with_the_reason() -> None:
    class Unscriptable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return python_only(self.fc(x))

    with pytest.raises(InvalidModelError, match=r"(?s)TorchScript at .*python_only.*variable number of arguments"):
        quantized(Unscriptable().eval(), recipe_of("static"), torch.randn(8, 8))


def python_only(x: Tensor, **options: int) -> Tensor:
    return x + len(options)


torch.fx.wrap("python_only")

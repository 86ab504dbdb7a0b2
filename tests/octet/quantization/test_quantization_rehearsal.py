"""Kernels that are missing or wrong are found, however many there are, and the rest goes on in int8."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of, trace
from torch import Tensor, nn
from torch.nn import functional

from octet.quantization import use_engine
from octet.quantization.fallback import MOST_ROUNDS, settle
from octet.quantization.plan import plan_layers
from octet.quantization.qconfigs import QConfigs
from octet.quantization.rehearsal import first_line
from octet.quantization.rewrite import rewrite
from octet.quantization.shapes import shapes_of

if TYPE_CHECKING:
    from octet.quantization.plan import Plan
    from octet.recipe import Recipe


def settled(module: nn.Module, recipe: Recipe, inputs: Tensor, *, believing: tuple[str, ...] = ()) -> Plan:
    """The plan for `module` after rehearsal; layers of `believing` are taken to have kernels, whatever is known."""
    traced = trace(module)
    rewritten = rewrite(traced, recipe, shapes_of(traced, (inputs,)))
    plan = plan_layers(rewritten, recipe)
    layers = {
        name: replace(layer, method="static", reason=None) if name.split(".")[0] in believing else layer
        for name, layer in plan.layers.items()
    }
    with use_engine(recipe.engine):
        return settle(rewritten.module, replace(plan, layers=layers), QConfigs(recipe), recipe, (inputs,))


class ManyResizes(nn.Module):
    """More bicubic resizes, each between convolutions, than there are rehearsals."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(2 * MOST_ROUNDS))

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = functional.interpolate(conv(x), size=(4, 4), mode="bicubic")
        return x


class Circles(nn.Module):
    """Convolutions that cannot be packed, of several sizes, among one that can."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv1d(2, 2, 3, padding=1)
        self.round = nn.ModuleList(
            nn.Conv1d(2 * n, 2 * n + 2, 3, padding=1, padding_mode="circular") for n in range(1, MOST_ROUNDS + 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.plain(x)
        for conv in self.round:
            x = conv(x)
        return x


class Call(nn.Module):
    """A convolution, or a linear layer, and what comes of its output."""

    def __init__(self, layer: nn.Module, function: Any) -> None:
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x), x)


class BatchNormed(nn.Module):
    """Linear, batch norm, ReLU: FX forgets the ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm, self.relu = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()
        self.norm.running_mean = torch.linspace(-1, 1, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.fc(x)))


class Unique:
    """FX has to copy what it quantizes."""

    def __deepcopy__(self, _: object) -> Unique:
        raise RuntimeError("there is only one of me")


def test_calls_without_a_kernel_do_not_cost_a_rehearsal_each() -> None:
    model, inputs, recipe = ManyResizes().eval(), torch.randn(2, 3, 4, 4), recipe_of("static")
    result = quantized(model, recipe, inputs)
    assert set(methods_of(result).values()) == {"static"}
    (warning,) = result.plan.warnings
    assert f"{2 * MOST_ROUNDS - 1} calls of `interpolate` were left in float" in warning
    assert "no int8 kernel for aten::upsample_bicubic2d" in warning


def test_layers_that_cannot_be_packed_do_not_cost_a_search_each() -> None:
    plan = settled(Circles().eval(), recipe_of("static"), torch.randn(2, 2, 8), believing=("plain", "round"))
    assert plan.int8_layers == ("plain",)
    assert "padding_mode" in str(plan.layers["round.3"].reason) or "circular" in str(plan.layers["round.3"].reason)


def test_a_kernel_that_gives_wrong_results_is_not_used() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.PReLU(), nn.Linear(8, 8)).eval()
    plan = settled(model, recipe_of("static"), torch.randn(16, 8), believing=("0", "1", "2"))
    assert plan.int8_layers == ("0", "2")
    assert "wrong results" in str(plan.layers["1"].reason)


@pytest.mark.parametrize("method", ["static", "qat"])
@pytest.mark.parametrize("layer", [nn.LayerNorm(8), nn.LeakyReLU(), nn.Hardswish()])
def test_a_layer_that_is_to_be_float_is_float_between_int8_layers(layer: nn.Module, method: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), layer, nn.Linear(8, 8)).eval()
    recipe = recipe_of(method, layers=[{"name": "1", "method": "float"}])
    assert methods_of(quantized(model, recipe, torch.randn(8, 8))) == {"0": "static", "1": "float", "2": "static"}


@pytest.mark.parametrize("engine", ["onednn", "x86"])
@pytest.mark.parametrize("method", ["static", "dynamic"])
@pytest.mark.parametrize(
    "function",
    [
        lambda y, _: torch.tanh(y),
        lambda y, _: functional.leaky_relu(y, 0.1),
        lambda y, x: torch.add(y, x, alpha=0.25),
        lambda y, x: torch.relu(y) + x.mean(0, keepdim=True),
    ],
    ids=["tanh", "leaky", "alpha", "broadcast"],
)
def test_what_follows_a_linear_layer_does_not_keep_it_from_int8(function: Any, method: str, engine: str) -> None:
    torch.manual_seed(0)
    model, inputs, recipe = Call(nn.Linear(8, 8), function).eval(), torch.randn(64, 8), recipe_of(method, engine)
    result = quantized(model, recipe, inputs)
    assert methods_of(result)["layer"] == method
    assert sqnr_of(model, result, recipe, inputs) > 25


@pytest.mark.parametrize("smaller", [(2, 3), (0, 2, 3)])
def test_an_addend_of_another_shape_is_not_written_over(smaller: tuple[int, ...]) -> None:
    model = Call(nn.Conv2d(4, 4, 1), lambda y, x: functional.relu(y + x.mean(smaller, keepdim=True))).eval()
    inputs, recipe = torch.randn(8, 4, 16, 16), recipe_of("static", "onednn")
    result = quantized(model, recipe, inputs)
    assert type(result.int8.get_submodule("layer")).__name__ == "Conv2d"
    assert sqnr_of(model, result, recipe, inputs) > 25


@pytest.mark.parametrize("activations", ["affine", "symmetric"])
@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_the_relu_behind_a_folded_batch_norm_is_kept(method: str, activations: str) -> None:
    model, inputs = BatchNormed().eval(), torch.randn(64, 8)
    recipe = recipe_of(method, activations={"scheme": activations})
    result = quantized(model, recipe, inputs)
    assert methods_of(result)["fc"] == method
    assert sqnr_of(model, result, recipe, inputs) > 20


@pytest.mark.parametrize("method", ["static", "qat"])
def test_a_transposed_convolution_with_a_batch_norm_can_be_trained(method: str) -> None:
    model = nn.Sequential(nn.ConvTranspose1d(4, 4, 3), nn.BatchNorm1d(4)).eval()
    inputs, recipe = torch.randn(16, 4, 8), recipe_of(method)
    result = quantized(model, recipe, inputs)
    assert methods_of(result) == {"0": "static"}
    assert sqnr_of(model, result, recipe, inputs) > 20


class Frames(nn.Module):
    """Convolves the frames of a clip, taken apart by a reshape, and reads attention that an einsum puts together."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 2, 2), nn.Linear(4, 4)

    def forward(self, clips: Tensor) -> Tensor:
        x = self.conv(clips.reshape(-1, 3, 4, 4)).flatten(2)
        return self.fc(torch.einsum("bik,bjk->bij", x, x).reshape(-1, 4))


@pytest.mark.parametrize("method", ["static", "qat"])
def test_a_layer_behind_a_reshape_of_floats_is_int8(method: str) -> None:
    model, inputs, recipe = Frames().eval(), torch.randn(16, 2, 3, 4, 4), recipe_of(method)
    result = quantized(model, recipe, inputs)
    assert methods_of(result) == {"conv": "static", "fc": "static"}
    assert sqnr_of(model, result, recipe, inputs) > 20


def test_where_nothing_can_be_quantized_the_model_comes_back_in_float_and_says_so() -> None:
    model, inputs = nn.Sequential(nn.Linear(8, 8)).eval(), torch.randn(4, 8)
    model[0].tag = Unique()
    result = quantized(model, recipe_of("static"), inputs)
    assert result.plan.layers["0"].reason == "there is only one of me"
    assert methods_of(result) == {"0": "float"}
    assert "Nothing was quantized" in result.plan.warnings[-1]
    assert torch.equal(result.scripted(inputs), model(inputs))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("It should be specified for quantized clamp!", "It should be specified for quantized clamp"),
        ("\nOut of memory.\nTry less.", "Out of memory"),
    ],
)
def test_what_torch_says_becomes_part_of_a_sentence(said: str, told: str) -> None:
    assert first_line(RuntimeError(said)) == told


def test_a_model_of_which_no_layer_has_a_kernel_comes_back_in_float_and_says_so() -> None:
    result = quantized(nn.Sequential(nn.Conv1d(2, 2, 3)).eval(), recipe_of("dynamic"), torch.randn(4, 2, 8))
    assert result.plan.layers["0"].reason == "torch has no dynamic int8 kernel for Conv1d"
    assert any("Nothing was quantized" in warning for warning in result.plan.warnings)

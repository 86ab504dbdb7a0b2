"""Which layers a simulation rounds, and what a recipe's rules say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import quantized, recipe_of, samples_of, trace
from torch import nn

from octet import torchscript
from octet.quantization import Simulated, simulate, use_engine

if TYPE_CHECKING:
    from torch import Tensor

    from octet.recipe import Recipe


def simulated(model: nn.Module, recipe: Recipe, *inputs: Tensor) -> Simulated:
    with use_engine(recipe.engine):
        return simulate(
            trace(model.eval()),
            recipe,
            inputs=tuple(tensor[:4] for tensor in inputs),
            calibration=samples_of(*inputs) if recipe.needs_calibration else None,
            on_stage=lambda *_: None,
        )


def simulation(bits: int = 4, **sections: Any) -> Recipe:
    return recipe_of("simulate", weights={"bits": bits}, activations={"bits": bits, "observer": "minmax"}, **sections)


class First(nn.Module):
    """A layer that gives a tuple, in a model that gives its first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """The first output."""
        return self.layer(x)[0]


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "Linear": (nn.Linear(6, 4), (6,)),
    "Linear of sequences": (nn.Linear(6, 4), (5, 6)),
    "Conv1d": (nn.Conv1d(6, 4, 3), (6, 9)),
    "Conv2d": (nn.Conv2d(6, 4, 3, groups=2), (6, 9, 9)),
    "Conv3d": (nn.Conv3d(6, 4, 3), (6, 5, 5, 5)),
    "ConvTranspose1d": (nn.ConvTranspose1d(6, 4, 3), (6, 9)),
    "ConvTranspose2d": (nn.ConvTranspose2d(6, 4, 3, groups=2), (6, 9, 9)),
    "ConvTranspose3d": (nn.ConvTranspose3d(6, 4, 3), (6, 5, 5, 5)),
    "RNN": (nn.RNN(6, 4, batch_first=True), (5, 6)),
    "LSTM": (nn.LSTM(6, 4, num_layers=2, bidirectional=True, batch_first=True), (5, 6)),
    "GRU": (nn.GRU(6, 4, batch_first=True), (5, 6)),
    "RNNCell": (nn.RNNCell(6, 4), (6,)),
    "LSTMCell": (nn.LSTMCell(6, 4), (6,)),
    "GRUCell": (nn.GRUCell(6, 4), (6,)),
}


@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_rounded(name: str, granularity: str) -> None:
    layer, shape = LAYERS[name]
    inputs = torch.randn(12, *shape)
    model = First(layer) if isinstance(layer(inputs), tuple) else nn.Sequential(layer)
    recipe = recipe_of(
        "simulate",
        weights={"bits": 4, "granularity": granularity},
        activations={"bits": 4, "granularity": granularity, "observer": "minmax"},
    )
    result = simulated(model, recipe, inputs)
    assert [(tensor.kind, tensor.bits) for tensor in result.tensors] == [("weight", 4), ("activation", 4)]
    assert all(0.01 < tensor.relative_error < 0.2 for tensor in result.tensors)
    assert not torch.allclose(model(inputs), result.module(inputs), rtol=1e-3)
    with result.only(()) as module:
        assert torch.allclose(model(inputs), module(inputs), atol=1e-5)
    with use_engine("x86"):
        assert torch.equal(torchscript.script(result.module)(inputs), result.module(inputs))


@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
def test_of_an_embedding_just_the_weight_is_rounded(kind: str) -> None:
    model, indices = nn.Sequential(getattr(nn, kind)(20, 6)), torch.randint(0, 20, (12, 5))
    result = simulated(model, simulation(), indices)
    assert [tensor.kind for tensor in result.tensors] == ["weight"]
    assert all(len(row.unique()) <= 2**4 for row in result.module.get_submodule("0").weight)


class Twice(nn.Module):
    """One layer that is called with small values and with large ones, and a weight that two layers have."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.tied = nn.Linear(6, 6)
        self.tied.weight = self.shared.weight

    def forward(self, x: Tensor) -> Tensor:
        """What all of them make of `x`."""
        return self.tied(self.shared(100 * self.shared(x)))


def test_a_layer_that_is_called_twice_is_one_layer_with_a_range_for_each_call() -> None:
    torch.manual_seed(0)
    model, inputs = Twice(), torch.randn(32, 6)
    result = simulated(model, simulation(6), inputs)
    assert result.layers == ("shared", "tied")
    assert [(tensor.layer, tensor.kind) for tensor in result.tensors] == [
        ("shared", "weight"), ("shared", "activation"), ("tied", "weight"), ("tied", "activation"),
    ]  # fmt: skip
    ranges = [float(value) for name, value in result.module.named_buffers() if name.endswith("rounding.scale")]
    assert max(ranges) > 10 * min(ranges)
    with result.only(["tied"]) as module:
        wanted = model.shared(100 * model.shared(inputs))
        seen: list[Tensor] = []
        handle = module.get_submodule("tied_input_rounding").register_forward_pre_hook(lambda _, x: seen.append(x[0]))
        module(inputs)
        handle.remove()
        assert torch.allclose(seen[0], wanted, rtol=1e-4, atol=1e-3), "the other calls are in float"


def test_rules_leave_layers_in_float_and_give_weights_other_bits() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 6))
    recipe = simulation(
        6, layers=[{"name": "0", "method": "float"}, {"name": "3", "bits": 2}, {"type": "Conv2d", "bits": 3}]
    )
    result = simulated(model, recipe, torch.randn(16, 6))
    assert result.layers == ("2", "3")
    assert {(t.layer, t.kind): t.bits for t in result.tensors} == {
        ("2", "weight"): 6, ("2", "activation"): 6, ("3", "weight"): 2, ("3", "activation"): 6,
    }  # fmt: skip
    assert any("layers/2" in warning and "matches no layer" in warning for warning in result.warnings)


def test_bits_can_be_given_to_one_layer_alone() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    recipe = recipe_of("simulate", weights={"bits": None}, activations={"bits": 8}, layers=[{"name": "2", "bits": 3}])
    result = simulated(model, recipe, torch.randn(16, 6))
    assert [(t.layer, t.bits) for t in result.tensors if t.kind == "weight"] == [("2", 3)]


def test_an_input_that_is_not_finite_stays_as_it_is_and_is_named() -> None:
    class Endless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine = nn.Linear(6, 6)
            self.odd = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return torch.add(self.fine(x), self.odd(torch.log(torch.relu(x))).clamp(-9, 9))

    result = simulated(Endless(), simulation(), torch.randn(16, 6))
    assert [(t.layer, t.kind) for t in result.tensors] == [
        ("fine", "weight"), ("fine", "activation"), ("odd", "weight"),
    ]  # fmt: skip
    assert any("'odd'" in warning and "finite" in warning for warning in result.warnings)


def test_a_model_without_weights_is_left_as_it_is() -> None:
    result = simulated(nn.Sequential(nn.ReLU()), simulation(), torch.randn(8, 3))
    assert result.layers == ()
    assert result.tensors == ()
    assert result.parameter_bytes == 0


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_under_a_method_with_kernels_just_what_has_one_is_rounded(method: str) -> None:
    model = nn.Sequential(nn.Conv1d(6, 6, 3, padding_mode="circular", padding=1), nn.Conv1d(6, 6, 3), nn.Linear(7, 5))
    result = simulated(model, recipe_of(method), torch.randn(16, 6, 9))
    assert result.layers == (("1", "2") if method == "static" else ("2",))


class Uneven(nn.Module):
    """Two convolutions; what the first makes too small by channels, the second makes up for."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1, bias=False)
        self.second = nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            sizes = torch.logspace(-2, 2, 8)
            self.first.weight *= sizes[:, None, None, None]
            self.second.weight /= sizes[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Images of 4 channels."""
        return self.second(torch.relu(self.first(x)))


def test_repairs_are_done_before_rounding_and_reported() -> None:
    torch.manual_seed(0)
    model, inputs = Uneven().eval(), torch.randn(16, 3, 6, 6)
    weights = {"bits": 6, "granularity": "per_tensor"}
    errors = {}
    for equalize in (False, True):
        recipe = recipe_of("simulate", weights=weights, repairs={"equalize": equalize})
        result = simulated(model, recipe, inputs)
        errors[equalize] = float((result.module(inputs) - model(inputs)).detach().norm())
        assert [repair.repair for repair in result.repairs] == ["equalize"] * equalize
    assert errors[True] < errors[False] / 4


def test_a_corrected_bias_goes_with_the_rounding_of_its_layer() -> None:
    torch.manual_seed(0)
    model, inputs = Uneven().eval(), torch.rand(16, 3, 6, 6)
    recipe = recipe_of(
        "simulate",
        weights={"bits": 2},
        activations={"bits": None},
        repairs={"correct_bias": True, "clip_weights": True},
    )
    with use_engine("x86"):
        result = simulate(
            trace(model), recipe, inputs=(inputs,), calibration=samples_of(inputs), on_stage=lambda *_: None
        )
    assert [repair.repair for repair in result.repairs] == ["clip_weights", "correct_bias"]
    assert result.repairs[1].layers == ("first", "second")
    wanted = model(inputs).mean((0, 2, 3))
    assert torch.allclose(result.module(inputs).mean((0, 2, 3)), wanted, atol=1e-3)
    with result.only(["second"]) as module:
        assert module.get_submodule("first").weight.unique().numel() == model.first.weight.unique().numel()
    with result.only([]) as module:
        assert torch.allclose(module(inputs), model(inputs), atol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
def test_the_kernels_of_embeddings_are_simulated(bits: int) -> None:
    torch.manual_seed(0)
    model, indices = nn.Sequential(nn.Embedding(20, 8)).eval(), torch.arange(20)[:, None]
    recipe = recipe_of("dynamic", layers=[{"type": "Embedding", "method": "dynamic", "bits": bits}])
    result, real = simulated(model, recipe, indices), quantized(model, recipe, indices)
    assert [(tensor.kind, tensor.bits) for tensor in result.tensors] == [("weight", bits)]
    error = (result.module(indices) - model(indices)).detach().abs().mean()
    with use_engine("x86"):
        of_kernel = (real.scripted(indices) - model(indices)).detach().abs().mean()
    assert error == pytest.approx(of_kernel.item(), rel=0.4), "whose ranges need not reach zero"


def test_the_kernels_of_transposed_convolutions_are_simulated_with_one_scale() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.ConvTranspose1d(4, 4, 3))
    exact = model[0].weight.detach().clone()
    result = simulated(model, recipe_of("static"), torch.randn(8, 4, 9))
    steps = result.module.get_submodule("0").weight / (exact.abs().max() / 127.5)
    assert torch.allclose(steps, steps.round(), atol=1e-3)

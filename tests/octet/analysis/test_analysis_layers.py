"""What each layer costs: errors, ranges, saturation and time."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import recipe_of, samples_of
from torch import nn

import octet
from octet.analysis import layer_facts
from octet.quantization import Quantized, quantize_module, use_engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from octet.recipe import Recipe
    from octet.report import LayerFacts

    Analyse = Callable[..., tuple[dict[str, LayerFacts], Quantized]]


@pytest.fixture
def analyse(tmp_path: Path) -> Analyse:
    """Exports a model, quantizes it, and gives the facts of each layer by name, and the int8 model."""

    def analyse(model: nn.Module, recipe: Recipe, *inputs: Tensor) -> tuple[dict[str, LayerFacts], Quantized]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.export's, about recurrent layers
            octet.export(model.eval(), tuple(tensor[:3] for tensor in inputs), tmp_path / "model.pt2")
        program, samples = octet.load(tmp_path / "model.pt2"), samples_of(*inputs)
        with use_engine(recipe.engine):
            result = quantize_module(
                program.module(),
                recipe,
                inputs=tuple(tensor[:4] for tensor in inputs),
                calibration=samples if recipe.needs_calibration else None,
                training=samples if recipe.method == "qat" else None,
                on_stage=lambda *_: None,
            )
            return {layer.name: layer for layer in layer_facts(program.spec, result, recipe, samples)}, result

    return analyse


def quick(method: str = "static", **sections: Any) -> Recipe:
    measure = {"seconds": 0.01, "threads": 1, **sections.pop("measure", {})}
    return recipe_of(method, measure=measure, **sections)


class Chain(nn.Module):
    """conv - norm - relu - conv - pool - linear; the second convolution stays in float where a rule says so."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape [n, 5]."""
        return self.head(self.second(self.relu(self.norm(self.first(x)))).mean((2, 3)))


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(16, 3, 8, 8)


def test_a_static_layer_has_every_figure(analyse: Analyse, images: Tensor) -> None:
    facts, _ = analyse(Chain(), quick(), images)
    for name in ("first", "second", "head"):
        layer = facts[name]
        assert layer.own_sqnr_db is not None
        assert layer.activation_sqnr_db is not None
        assert 20 < layer.own_sqnr_db < 60
        assert layer.input_range is not None
        assert layer.output_range is not None
        assert layer.input_range[0] <= layer.input_range[1]
        assert layer.saturation is not None
        assert 0 <= layer.saturation < 0.05
        assert layer.bits == 8
    assert facts["first"].input_range == (images.min().item(), images.max().item())
    assert facts["first"].output_range is not None
    assert facts["first"].output_range[0] == 0.0, "the ReLU is part of it"


def test_the_first_layer_has_inherited_nothing_and_the_last_has(analyse: Analyse, images: Tensor) -> None:
    facts, _ = analyse(Chain(), quick(), images)
    assert facts["first"].activation_sqnr_db == pytest.approx(facts["first"].own_sqnr_db, abs=1e-3)
    assert facts["second"].activation_sqnr_db is not None
    assert facts["second"].own_sqnr_db is not None
    assert facts["second"].activation_sqnr_db < facts["second"].own_sqnr_db


def test_a_layers_own_error_is_the_one_its_kernel_makes_of_the_fp32_input(analyse: Analyse, images: Tensor) -> None:
    model = Chain().eval()
    facts, result = analyse(model, quick(), images)
    with use_engine("x86"), torch.no_grad():
        given = model.relu(model.norm(model.first(images)))
        kernel = result.int8.get_submodule("second")
        before = result.int8.get_submodule("first")
        rounded = torch.quantize_per_tensor(given, float(before.scale), int(before.zero_point), torch.quint8)
        wanted, got = model.second(given), kernel(rounded).dequantize()
    noise = 10 * torch.log10(wanted.square().sum() / (got - wanted).square().sum())
    assert facts["second"].own_sqnr_db == pytest.approx(noise.item(), abs=1e-2)


def test_layers_are_ranked_by_their_own_error(analyse: Analyse, images: Tensor) -> None:
    model = Chain()
    with torch.no_grad():
        model.second.weight[0] *= 1000  # one scale for the outputs of all channels: the others vanish
    facts, _ = analyse(model, quick(weights={"granularity": "per_tensor"}), images)
    ranked = sorted((layer for layer in facts.values() if layer.rank), key=lambda layer: layer.rank or 0)
    assert [layer.rank for layer in ranked] == [1, 2, 3]
    own = [layer.own_sqnr_db for layer in ranked]
    assert own == sorted(own, key=lambda value: value or 0)


def test_saturation_is_the_share_that_the_output_cannot_hold(analyse: Analyse) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(32, 16)
    inputs[31] *= 100
    recipe = quick(engine="onednn", activations={"observer": "percentile", "percentile": 90.0})
    facts, result = analyse(nn.Sequential(nn.Linear(16, 8)), recipe, inputs)
    kernel = result.int8.get_submodule("0")
    outputs = result.source.get_submodule("0")(inputs)
    steps = (outputs / float(kernel.scale)).round() + int(kernel.zero_point)
    beyond = ((steps < 0) | (steps > 255)).double().mean().item()
    assert facts["0"].saturation == pytest.approx(beyond)
    assert beyond > 0.05


def test_a_dynamic_layer_does_not_saturate_and_has_an_error_of_its_own(analyse: Analyse) -> None:
    facts, _ = analyse(
        nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)), quick("dynamic"), torch.randn(16, 16)
    )
    assert [layer.saturation for layer in facts.values()] == [None, None]
    assert all(layer.own_sqnr_db is not None for layer in facts.values())


def test_a_float_layer_has_ranges_and_time_but_no_error_of_its_own(analyse: Analyse, images: Tensor) -> None:
    facts, _ = analyse(Chain(), quick(layers=[{"name": "second", "method": "float"}]), images)
    layer = facts["second"]
    assert (layer.method, layer.own_sqnr_db, layer.saturation, layer.rank, layer.bits) == (
        "float",
        None,
        None,
        None,
        None,
    )
    assert layer.activation_sqnr_db is not None, "it inherits one"
    assert layer.input_range is not None
    assert layer.latency_share_int8 is not None


def test_a_folded_norm_has_no_figures_of_its_own(analyse: Analyse, images: Tensor) -> None:
    facts, _ = analyse(Chain(), quick(), images)
    norm = facts["norm"]
    assert norm.method == "static"
    assert (norm.own_sqnr_db, norm.output_range, norm.latency_share_int8, norm.rank) == (None, None, None, None)


def test_each_layer_has_a_share_of_the_time_of_both_models(analyse: Analyse, images: Tensor) -> None:
    facts, _ = analyse(Chain(), quick(), images)
    layers = [facts[name] for name in ("first", "second", "head")]
    for shares in ([layer.latency_share_fp32 for layer in layers], [layer.latency_share_int8 for layer in layers]):
        assert all(share is not None and share > 0 for share in shares)
        assert sum(share or 0 for share in shares) < 1, "the pooling is no layer's"


def test_qat_is_analysed(analyse: Analyse, images: Tensor) -> None:
    facts, _ = analyse(Chain(), quick("qat"), images)
    assert facts["first"].method == "qat"
    assert facts["first"].own_sqnr_db is not None


class Called(nn.Module):
    """One layer called on small and on large values, in a graph with tuples and lists."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.gru = nn.GRU(6, 6, batch_first=True)
        self.cell = nn.LSTMCell(6, 6)
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Tensors of shape [n, 6], in containers."""
        parts = torch.chunk(self.gru(torch.stack([x, pair[0]], dim=1))[0], 2, dim=1)
        small = self.shared(x * self.scale)
        hidden, state = self.cell(self.shared(100 * small), (pair[0], pair[1]))
        return hidden, [state, parts[0].squeeze(1)]


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_all_calls_of_a_layer_count(analyse: Analyse, method: str) -> None:
    torch.manual_seed(0)
    model, inputs = Called().eval(), [torch.randn(8, 6) for _ in range(3)]

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, list[Tensor]]:
            return self.model(x, (h, c))

    facts, _ = analyse(Flat(), quick(method), *inputs)
    shared = facts["model.shared"]
    once = model.shared(inputs[0])
    seen = torch.cat([inputs[0], 100 * once])
    assert shared.input_range == pytest.approx((seen.min().item(), seen.max().item()), rel=1e-4)
    assert shared.own_sqnr_db is not None
    assert facts["model.gru"].own_sqnr_db is not None
    assert facts["model.cell"].own_sqnr_db is not None
    assert facts["model.gru"].method == "dynamic"


def test_an_embedding_is_analysed(analyse: Analyse) -> None:
    model = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 4))
    facts, _ = analyse(model, quick(), torch.randint(0, 20, (16, 5)))
    assert facts["0"].input_range is None, "indices are no activation"
    assert facts["0"].output_range is not None
    assert facts["1"].own_sqnr_db is not None


def test_a_model_in_which_nothing_is_quantized_is_analysed(analyse: Analyse) -> None:
    facts, _ = analyse(
        nn.Sequential(nn.Linear(6, 6)), quick(layers=[{"name": "*", "method": "float"}]), torch.randn(8, 6)
    )
    assert facts["0"].activation_sqnr_db is None, "no error"
    assert facts["0"].latency_share_fp32 == pytest.approx(1)


def test_values_that_are_not_finite_leave_figures_that_are(analyse: Analyse) -> None:
    class Endless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.second = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.log(torch.relu(self.first(x))))

    facts, _ = analyse(Endless(), quick("dynamic"), torch.randn(16, 6))
    figures = [value for layer in facts.values() for value in layer.model_dump().values() if isinstance(value, float)]
    assert torch.tensor(figures).isfinite().all()


def test_without_measuring_layers_there_are_no_figures(analyse: Analyse, images: Tensor) -> None:
    facts, _ = analyse(Chain(), quick(measure={"layers": False}), images)
    assert facts["first"].method == "static"
    assert facts["first"].model_fields_set & {"own_sqnr_db"} == {"own_sqnr_db"}
    assert facts["first"].own_sqnr_db is None
    assert facts["first"].latency_share_int8 is None

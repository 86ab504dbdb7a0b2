"""Every layer of `torch.nn` comes back as what it was: eager, scripted, traced again and in int8."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from layer_cases import FAMILIES
from layer_forms import Branches, Call, image, sequence
from pt2 import MODEL, entries, nodes
from quantizing import recipe_of, samples_of
from torch import nn
from torch.utils import _pytree as pytree
from zoo import live

import octet
from octet.errors import UnsupportedOperatorError
from octet.program import ops
from octet.program.ops import refused
from octet.quantization import executed_method, quantize_module, use_engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

pytestmark = [
    pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]


class Case(NamedTuple):
    """A model of branches, its file, what was read of it, and an input of three samples."""

    model: nn.Module
    path: Path
    program: octet.Program
    x: Tensor


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Exports a family and reads it, once."""
    folder = tmp_path_factory.mktemp("layers")

    @cache
    def read(name: str) -> Case:
        layers, stem, example = FAMILIES[name]
        torch.manual_seed(0)
        model = live(Branches(layers(), stem())).eval()
        path = octet.export(model, example(), folder / f"{name}.pt2")
        return Case(model, path, octet.load(path), torch.cat([example(), example()[:1]]))

    return read


@pytest.fixture(params=FAMILIES)
def case(request: pytest.FixtureRequest, read: Callable[[str], Case]) -> Case:
    return read(request.param)


def _leaves(value: object) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if leaf is not None]


def _assert_same(case: Case, module: nn.Module) -> None:
    with torch.no_grad():
        got, expected = _leaves(module(case.x.clone())), _leaves(case.model(case.x.clone()))
    for output, value, wanted in zip(case.program.outputs, got, expected, strict=True):
        torch.testing.assert_close(value, wanted, atol=1e-5, rtol=1e-5, msg=lambda text, o=output: f"{o.name}: {text}")


def test_layers_compute_what_the_source_computes(case: Case) -> None:
    _assert_same(case, case.program.module())


def test_layers_script(case: Case) -> None:
    _assert_same(case, torch.jit.script(case.program.module()))


def test_tracing_again_leaves_the_batch_open(case: Case) -> None:
    # prepare_fx traces the module again; nothing may then be computed for the one batch it was traced with.
    _assert_same(case, torch.fx.symbolic_trace(case.program.module()))


# Families and the classes of which every layer comes back as a module of that class under the source's path.
MODULES = {
    "convolutions 2d": (nn.Conv2d, nn.ConvTranspose2d),
    "linears": (nn.Linear, nn.Bilinear),
    "norms 2d": (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
    "norms of rows": (nn.BatchNorm1d, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
    "embeddings": (nn.Embedding, nn.EmbeddingBag),
    "recurrent": (nn.RNN, nn.LSTM, nn.GRU),
    "cells": (nn.RNNCell, nn.LSTMCell, nn.GRUCell),
    "activations": (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.PReLU, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_layer_comes_back_as_the_module_it_was_under_its_path(name: str, read: Callable[[str], Case]) -> None:
    case = read(name)
    wanted = {path: layer for path, layer in case.model.named_modules() if type(layer) in MODULES[name]}
    found = dict(case.program.module().named_modules())
    assert {path: type(found.get(path)) for path in wanted} == {path: type(layer) for path, layer in wanted.items()}


# Those of which a layer fails in int8 are dear: the engine looks for it by trying.
INT8 = ("convolutions 2d", "linears", "norms 2d", "embeddings", "activations", "pooling 2d", "resizing 2d")


@pytest.mark.parametrize("name", INT8)
def test_layers_run_in_a_static_int8_model_for_any_batch(name: str, read: Callable[[str], Case]) -> None:
    case, recipe = read(name), recipe_of("static")
    example = FAMILIES[name][2]
    with use_engine(recipe.engine):
        quantized = quantize_module(
            case.program.module(),
            recipe,
            inputs=(example(),),
            calibration=samples_of(torch.cat([example(), example()])),
            training=None,
            on_stage=lambda *_: None,
        )
        got, expected = _leaves(quantized.scripted(case.x)), _leaves(case.model(case.x))
    assert [value.shape for value in got] == [value.shape for value in expected]


def test_cells_run_in_a_dynamic_int8_model(tmp_path: Path) -> None:
    cells = nn.ModuleList([nn.RNNCell(8, 8), nn.LSTMCell(8, 8), nn.GRUCell(8, 8)])
    model = Call(lambda x, rnn, lstm, gru: gru(lstm(rnn(x[:, 0]))[0]), *cells)
    program = octet.load(octet.export(model, sequence(), tmp_path / "cells.pt2"))
    recipe = recipe_of("dynamic")
    with use_engine(recipe.engine):
        quantized = quantize_module(
            program.module(),
            recipe,
            inputs=(sequence(),),
            calibration=None,
            training=None,
            on_stage=lambda *_: None,
        )
    methods = {layer.name: executed_method(quantized.int8.get_submodule(layer.name)) for layer in program.layers}
    assert methods == dict.fromkeys(("parts.0", "parts.1", "parts.2"), "dynamic")


PARTS = (
    ops.layers, ops.norms, ops.recurrent, ops.attention, ops.activations, ops.pooling, ops.resampling, ops.losses,
)  # fmt: skip


OF_DECOMPOSITION = (
    "convolution", "_trilinear", "_embedding_bag", "_embedding_bag_forward_only", "grid_sampler_2d", "grid_sampler_3d",
    "rrelu_with_noise_functional",
)  # fmt: skip


def test_every_row_for_a_layer_is_exercised_here(read: Callable[[str], Case]) -> None:
    paths = [read(name).path for name in FAMILIES]
    targets = {node["target"] for path in paths for node in nodes(json.loads(entries(path)[MODEL]))}
    exercised = {ops.canonical(target.removeprefix("torch.ops.")) for target in targets}
    rows = {f"aten.{name}" for part in PARTS for name in part.OPS}
    # What fixes the batch, and what only run_decompositions makes, have tests of their own.
    assert rows - exercised == {f"aten.{name}" for name in (*FIXED, *OF_DECOMPOSITION)}


def test_no_operator_is_in_two_parts_of_the_table_nor_refused_by_name() -> None:
    names = [name for part in ops.PARTS for name in part.OPS]
    assert sorted(names) == sorted(set(names))
    assert {name.partition(".")[0] for name in names}.isdisjoint(refused.RANDOM)


FIXED: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "conv_tbc": (lambda x: F.conv_tbc(x, torch.ones(3, 8, 4) * 0.1, torch.ones(4), 1), torch.randn(2, 5, 8)),
    "fractional_max_pool3d": (
        lambda x: F.fractional_max_pool3d(x, 2, output_size=3, _random_samples=x.new_full((2, 4, 3), 0.3)),
        torch.randn(2, 4, 6, 6, 6),
    ),
}


@pytest.mark.parametrize("name", FIXED)
def test_an_operator_that_fixes_the_batch_computes_what_the_source_computes(name: str, tmp_path: Path) -> None:
    function, x = FIXED[name]
    model = Call(function)
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "model.pt2")
    module = octet.load(tmp_path / "model.pt2").module()
    torch.testing.assert_close(module(x), model(x))
    torch.testing.assert_close(torch.jit.script(module)(x), model(x))


def test_fractional_pooling_stays_inside_of_the_image_whatever_it_is_told(tmp_path: Path) -> None:
    def between_one_and_two(x: Tensor) -> Tensor:
        return F.fractional_max_pool2d(x.clamp(1, 2), 2, output_size=3, _random_samples=x[:, :, 0, :2])

    x = torch.ones(2, 4, 6, 6)
    torch.export.save(torch.export.export(Call(between_one_and_two), (x,)), tmp_path / "model.pt2")
    module = octet.load(tmp_path / "model.pt2").module()
    for wild in (1e9, -1e9, 3e38, float("inf")):
        torch.testing.assert_close(module(x * wild).clamp(1, 2), module(x * wild))


DECOMPOSED = ("convolutions 2d", "linears", "norms 2d", "embeddings", "activations", "resampling")


@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")  # torch's own code, as it decomposes
@pytest.mark.parametrize("name", DECOMPOSED)
def test_layers_compute_the_same_after_decomposition(name: str, read: Callable[[str], Case], tmp_path: Path) -> None:
    case = read(name)
    shapes = ({0: torch.export.Dim.AUTO},)
    with torch.no_grad():
        whole = torch.export.export(case.model, (FAMILIES[name][2](),), dynamic_shapes=shapes)
        torch.export.save(whole.run_decompositions(), tmp_path / "model.pt2")
    program = octet.load(tmp_path / "model.pt2")
    _assert_same(case._replace(program=program), program.module())
    convolutions = {layer.name for layer in case.program.layers if layer.type.startswith("Conv")}
    assert convolutions == {layer.name for layer in program.layers if layer.type.startswith("Conv")}


class Trained(nn.Module):
    """Whatever works otherwise while it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.Sequential(nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True))
        self.drops = nn.Sequential(
            nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout(), nn.RReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.drops(self.norms(x))
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.1 * self.training)


def test_a_model_exported_in_train_mode_computes_what_it_does_in_eval_mode_and_says_so(tmp_path: Path) -> None:
    model = live(Trained()).train()
    with torch.no_grad():
        torch.export.save(torch.export.export(model, (image(),)), tmp_path / "model.pt2")
    program, x = octet.load(tmp_path / "model.pt2"), image()
    torch.testing.assert_close(program.module()(x), model.eval()(x))
    assert "aten.batch_norm.default (module 'norms.0'" in program.spec.notes[0]
    assert "train mode" in program.spec.notes[0]


def _either(x: Tensor) -> Tensor:
    return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))


@pytest.mark.parametrize(
    ("function", "target", "reason"),
    [
        (F.gumbel_softmax, "aten.exponential_.default", "draws random numbers"),
        (lambda x: x + torch.randn_like(x), "aten.randn_like.default", "draws random numbers"),
        (lambda x: x + torch.rand(x.shape), "aten.rand.default", "draws random numbers"),
        (nn.FractionalMaxPool2d(2, output_size=3), "aten.rand.default", "draws random numbers"),
        (_either, "higher_order.cond", "chooses at run time"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused_by_name_and_with_its_reason(
    function: Callable[[Tensor], Tensor], target: str, reason: str, tmp_path: Path
) -> None:
    torch.export.save(torch.export.export(Call(function), (image(),)), tmp_path / "model.pt2")
    with pytest.raises(UnsupportedOperatorError, match=target) as refusal:
        octet.load(tmp_path / "model.pt2")
    assert reason in str(refusal.value)
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("aten.normal_.default", "draws random numbers"),
        ("aten.rand_like.default", "draws random numbers"),
        ("aten._transformer_encoder_layer_fwd.default", "fused kernel"),
        ("aten.something_new.default", "not in Octet's table"),
        ("torchvision.nms.default", "torchvision's own"),
        ("quantized_decomposed.quantize_per_tensor.default", "quantized already"),
        ("_c10d_functional.all_reduce.default", "other processes"),
        ("mylib.custom.default", "another library"),
    ],
)
def test_each_kind_of_refusal_has_its_reason(target: str, reason: str) -> None:
    assert reason in refused.refusal(target).why

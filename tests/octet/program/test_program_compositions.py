"""Models that do more than call layers come back as they were, and go into int8 with every layer and the batch open."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import torch
from quantizing import recipe_of, samples_of
from torch.utils import _pytree as pytree
from zoo import live
from zoo_compositions import COMPOSITIONS

import octet
from octet.quantization import executed_method, quantize_module, use_engine

if TYPE_CHECKING:
    from torch import Tensor, nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations"),
    pytest.mark.filterwarnings("ignore:An output with one or more elements was resized"),  # torch's int8 additions
]

Case = tuple["nn.Module", tuple["Tensor", ...], octet.Program]


@pytest.fixture(scope="module", params=COMPOSITIONS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A model, inputs of four samples, and what was read of its file."""
    make, example = COMPOSITIONS[request.param]
    torch.manual_seed(0)
    model, inputs = live(make()).eval(), example()
    path = octet.export(model, inputs, tmp_path_factory.mktemp("compositions") / "model.pt2")
    return model, tuple(value.repeat(4, *(1,) * (value.dim() - 1)) for value in inputs), octet.load(path)


def _outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return pytree.tree_leaves(module(*inputs))


@pytest.mark.parametrize("size", [1, 4])
def test_it_computes_what_the_source_computes_for_any_batch(case: Case, size: int) -> None:
    model, inputs, program = case
    inputs = tuple(value[:size] for value in inputs)
    torch.testing.assert_close(_outputs(program.module(), inputs), _outputs(model, inputs), atol=1e-5, rtol=1e-5)


def test_its_layers_become_int8_and_run_at_another_batch_once_saved(case: Case) -> None:
    model, inputs, program = case
    recipe = recipe_of("static")
    with use_engine(recipe.engine):
        result = quantize_module(
            program.module(),
            recipe,
            inputs=tuple(value[:2] for value in inputs),
            calibration=samples_of(*inputs),
            training=None,
            on_stage=lambda *_: None,
        )
        file = io.BytesIO()
        torch.jit.save(result.scripted, file)
        file.seek(0)
        outputs = _outputs(torch.jit.load(file), tuple(value[:3] for value in inputs))
    layers = [layer for layer in program.layers if layer.type.startswith(("Conv", "Linear"))]
    assert {executed_method(result.int8.get_submodule(layer.name)) for layer in layers} == {"static"}
    for output, wanted in zip(outputs, _outputs(model, tuple(value[:3] for value in inputs)), strict=True):
        assert output.shape == wanted.shape
        assert 10 * torch.log10(wanted.square().sum() / (output - wanted).square().sum()) > 10

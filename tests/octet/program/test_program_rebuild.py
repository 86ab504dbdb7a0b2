"""What comes out of `octet.load(path).module()` is the source model, made of modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.utils import _pytree as pytree
from zoo import ZOO, live

import octet

if TYPE_CHECKING:
    from torch import Tensor

# torch's own code, as it scripts and prepares its own modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations"),
    pytest.mark.filterwarnings("ignore:torch.inf detected in input tensor"),  # the causal mask
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
    pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max to specify the range"),
    pytest.mark.filterwarnings("ignore:must run observer before calling calculate_qparams"),
    pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous chunk"),
]

Case = tuple["nn.Module", tuple["Tensor", ...], octet.Program]


@pytest.fixture(scope="module", params=ZOO)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A model, example inputs of one sample, and what was read of its file."""
    make, inputs = ZOO[request.param]
    torch.manual_seed(0)
    model = live(make())
    example = inputs()
    path = octet.export(model, example, tmp_path_factory.mktemp("zoo") / "model.pt2")
    return model.eval(), example, octet.load(path)


def _batch(inputs: tuple[Tensor, ...], size: int) -> tuple[Tensor, ...]:
    return tuple(value.repeat(size, *(1,) * (value.dim() - 1)) for value in inputs)


def _outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return pytree.tree_leaves(module(*inputs))


@pytest.mark.parametrize("size", [1, 3])
def test_it_computes_what_the_source_computes_for_any_batch(case: Case, size: int) -> None:
    model, example, program = case
    inputs = _batch(example, size)
    torch.testing.assert_close(_outputs(program.module(), inputs), _outputs(model, inputs), atol=1e-5, rtol=1e-5)


def test_its_spec_names_the_batch_in_every_input_and_output(case: Case) -> None:
    _, example, program = case
    assert [tensor.shape[0] for tensor in program.inputs] == ["batch"] * len(example)
    assert any("batch" in tensor.shape for tensor in program.outputs)


def test_its_spec_counts_every_parameter_once(case: Case) -> None:
    model, _, program = case
    assert program.spec.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_each_weighted_layer_has_the_path_that_the_source_gives_it(case: Case) -> None:
    model, _, program = case
    source = dict(model.named_modules())
    for layer in program.layers:
        if layer.parameters and not layer.name.endswith("in_proj"):
            # A layer whose weight is computed of another layer's stands beside that: `lin_1`.
            assert isinstance(source[layer.name.removesuffix("_1")], getattr(nn, layer.type))


def test_the_layers_of_its_spec_are_the_modules_it_is_built_of(case: Case) -> None:
    _, _, program = case
    modules = dict(program.module().named_modules())
    for layer in program.layers:
        assert type(modules[layer.name]).__name__ == layer.type
        assert sum(parameter.numel() for parameter in modules[layer.name].parameters()) == layer.parameters


def test_it_comes_out_in_eval_mode(case: Case) -> None:
    assert not any(module.training for module in case[2].module().modules())


def test_it_scripts(case: Case) -> None:
    _, example, program = case
    module, inputs = program.module(), _batch(example, 2)
    torch.testing.assert_close(_outputs(torch.jit.script(module), inputs), _outputs(module, inputs))


def test_it_goes_through_static_quantization_and_scripts_as_int8_with_the_batch_open(case: Case) -> None:
    _, example, program = case
    prepared = prepare_fx(program.module(), get_default_qconfig_mapping("x86"), example)
    _outputs(prepared, _batch(example, 4))
    int8 = torch.jit.script(convert_fx(prepared))
    inputs = _batch(example, 3)
    assert [value.shape for value in _outputs(int8, inputs)] == [
        value.shape for value in _outputs(program.module(), inputs)
    ]

"""`octet.load` accepts or refuses a model without torch, and says what it is."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from pt2 import MODEL, Document, changed, nodes
from torch import Tensor, nn

import octet
from octet.errors import InvalidModelError, UnsupportedOperatorError
from octet.spec import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _loaded(model: nn.Module, inputs: tuple[Tensor, ...], folder: Path) -> octet.Program:
    return octet.load(octet.export(model, inputs, folder / "model.pt2"))


def _python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)


def test_loading_does_not_import_torch(resnet_pt2: Path) -> None:
    code = "import sys, octet; print(len(octet.load(sys.argv[1]).layers), 'torch' in sys.modules)"
    assert _python(code, str(resnet_pt2)).stdout.split() == [str(len(octet.load(resnet_pt2).layers)), "False"]


def test_without_torch_building_the_module_says_what_to_install(resnet_pt2: Path) -> None:
    code = """
import sys, octet
sys.modules["torch"] = None
try:
    octet.load(sys.argv[1]).module()
except octet.OctetError as error:
    print(error.code, error.hint)
"""
    assert _python(code, str(resnet_pt2)).stdout.strip() == "missing_dependency Run: pip install 'octet[engine]'"


def test_memory_stays_flat_while_large_weights_are_checked(tmp_path: Path) -> None:
    large = nn.Linear(4096, 6144)  # 100 MB
    path = octet.export(large, torch.randn(1, 4096), tmp_path / "large.pt2")
    code = """
import sys, resource, octet
octet.OctetError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
octet.load(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    assert int(_python(code, str(path)).stdout) < 32 * 1024  # in KiB


def test_the_hash_is_that_of_the_file(resnet_pt2: Path) -> None:
    assert octet.load(resnet_pt2).sha256 == hashlib.sha256(resnet_pt2.read_bytes()).hexdigest()


def test_the_spec_describes_the_model(resnet_pt2: Path) -> None:
    spec = octet.load(resnet_pt2).spec
    assert spec.inputs == (TensorSpec(name="x", dtype="float32", shape=("batch", 3, 16, 16)),)
    assert spec.outputs == (TensorSpec(name="output", dtype="float32", shape=("batch", 5)),)
    assert spec.torch_version == torch.__version__
    assert [(layer.name, layer.type, layer.parameters) for layer in spec.layers[:5]] == [
        ("conv1", "Conv2d", 1176),
        ("bn1", "BatchNorm2d", 16),
        ("relu", "ReLU", 0),
        ("layer1.0.conv1", "Conv2d", 576),
        ("layer1.0.bn1", "BatchNorm2d", 16),
    ]
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec


class TwoTowers(nn.Module):
    """Nested inputs by name, nested outputs, one of them None."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(4, 3), nn.Embedding(9, 3)

    def forward(self, image: Tensor, ids: Tensor) -> dict[str, object]:
        words = self.text(ids)
        return {"logits": self.image(image) @ words.mean(1).mT, "nothing": None, "parts": (words, [image * 2])}


def test_inputs_and_outputs_carry_the_names_of_the_source(tmp_path: Path) -> None:
    program = _loaded(TwoTowers(), (torch.randn(2, 4), torch.ones(2, 5, dtype=torch.long)), tmp_path)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in program.inputs] == [
        ("image", "float32", ("batch", 4)),
        ("ids", "int64", ("batch", 5)),
    ]
    assert [(tensor.name, tensor.shape) for tensor in program.outputs] == [
        ("logits", ("batch", "batch")),
        ("parts.0", ("batch", 5, 3)),
        ("parts.1.0", ("batch", 4)),
    ]


def test_open_sizes_other_than_the_batch_have_names_of_their_own(tmp_path: Path) -> None:
    model, auto = nn.Sequential(nn.Embedding(9, 3), nn.LayerNorm(3)), torch.export.Dim.AUTO
    ids = torch.ones(2, 5, dtype=torch.long)
    program = torch.export.export(model.eval(), (ids,), dynamic_shapes=({0: auto, 1: auto},))
    torch.export.save(program, tmp_path / "model.pt2")
    spec = octet.load(tmp_path / "model.pt2").spec
    assert spec.inputs[0].shape == ("batch", "input_dim1")
    assert spec.outputs[0].shape == ("batch", "input_dim1", 3)


@torch.library.custom_op("octet_tests::twist", mutates_args=())
def twist(x: Tensor) -> Tensor:
    return x.mT.clone()


@torch.library.custom_op("octet_tests::shout", mutates_args=())
def shout(x: Tensor) -> Tensor:
    return x * 2


for _operator in (twist, shout):
    _operator.register_fake(torch.empty_like)


class Unsupported(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return twist(x) + shout(x) + twist(2 * x)


class Inside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 4), Unsupported())

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def test_operators_outside_the_table_are_all_named_with_module_and_source_line(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError) as refused:
        _loaded(Inside(), (torch.randn(2, 4, 4),), tmp_path)
    message = refused.value.message
    assert "2 operators" in message
    assert message.count("octet_tests.twist") == 1
    assert "octet_tests.shout.default (module 'block.1', " in message
    assert "test_program_load.py:" in message
    assert "shout(x)" in message


@pytest.mark.parametrize(("value", "what"), [(float("nan"), "3 NaN values"), (float("-inf"), "3 infinite values")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_a_weight_that_is_not_finite_is_named(value: float, what: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh()).to(dtype)
    with torch.no_grad():
        model[0].weight[1, :3] = value
    with pytest.raises(InvalidModelError, match=f"The parameter '0.weight' holds {what}"):
        _loaded(model, (torch.randn(2, 4, dtype=dtype),), tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_becomes_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh()).to(dtype).eval()
    program = _loaded(model, (torch.randn(2, 4, dtype=dtype),), tmp_path)
    assert [tensor.dtype for tensor in (*program.inputs, *program.outputs)] == ["float32", "float32"]
    x = torch.randn(3, 4)
    torch.testing.assert_close(program.module()(x), model.float()(x))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))
        self.table = torch.arange(3.0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x + self.mask, -1) @ self.table


def test_buffers_may_be_infinite_and_constants_are_found(tmp_path: Path) -> None:
    model, x = Masked(), torch.randn(4, 3, 3)
    torch.testing.assert_close(_loaded(model, (x,), tmp_path).module()(x), model(x))


def test_each_module_is_fresh_and_training_one_changes_neither_the_file_nor_the_next(resnet_pt2: Path) -> None:
    before = resnet_pt2.read_bytes()
    program, x = octet.load(resnet_pt2), torch.randn(4, 3, 16, 16)
    first = program.module()
    expected = first(x).detach()
    optimizer = torch.optim.SGD(first.train().parameters(), lr=0.1)
    first(x).square().sum().backward()
    optimizer.step()
    assert all(parameter.grad is not None for parameter in first.parameters())
    assert not torch.equal(first.eval()(x), expected)
    torch.testing.assert_close(program.module()(x), expected)
    assert resnet_pt2.read_bytes() == before


def test_calls_of_one_source_module_are_calls_of_one_module(resnet_pt2: Path) -> None:
    called = [node.target for node in octet.load(resnet_pt2).module().graph.nodes if node.op == "call_module"]
    assert called.count("layer1.0.relu") == 2


class InPlace(nn.Module):
    """Reads `x` after it was overwritten through another name, and a copy from before."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        before = x.clone()
        y = nn.functional.relu_(x.detach())
        z = x.clone()
        z.add_(1)
        return x + y * 2 + z * 3 + before * 5


def test_a_value_that_was_overwritten_reads_as_overwritten(tmp_path: Path) -> None:
    x = torch.randn(3, 4)
    torch.testing.assert_close(_loaded(InPlace(), (x,), tmp_path).module()(x), InPlace()(x))


class PartInPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        nn.functional.relu_(x[:, :2])
        return x


def test_a_value_of_which_part_was_overwritten_reads_as_overwritten(tmp_path: Path) -> None:
    x = torch.randn(3, 4)
    torch.testing.assert_close(_loaded(PartInPlace(), (x,), tmp_path).module()(x), PartInPlace()(x))


class Regions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.linear(x)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
            return self.linear(y) + y


def test_what_runs_under_no_grad_or_autocast_joins_the_graph(tmp_path: Path) -> None:
    model, x = Regions().eval(), torch.randn(3, 4)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(exported, tmp_path / "model.pt2")
    program = octet.load(tmp_path / "model.pt2")
    torch.testing.assert_close(program.module()(x), model(x))
    assert [layer.name for layer in program.layers] == ["linear"]


def test_a_model_exported_in_train_mode_is_rebuilt_in_eval_mode(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    x = torch.randn(2, 1, 8, 8)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(exported, tmp_path / "model.pt2")
    module = octet.load(tmp_path / "model.pt2").module()
    torch.testing.assert_close(module(x), model.eval()(x))


def _unknown_argument(document: Document) -> None:
    nodes(document)[0]["inputs"][0]["arg"] = {"as_secret": 1}


def _no_user_input(document: Document) -> None:
    specs = document["graph_module"]["signature"]["input_specs"]
    specs[:] = [spec for spec in specs if "user_input" not in spec]


@pytest.mark.parametrize(("change", "message"), [(_unknown_argument, "as_secret"), (_no_user_input, "no tensor")])
def test_what_the_schema_does_not_know_is_refused(
    change: Callable[[Document], None], message: str, resnet_pt2: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidModelError, match=message):
        octet.load(changed(resnet_pt2, tmp_path / "odd.pt2", MODEL, change))


def test_the_spec_is_the_same_from_run_to_run(resnet_pt2: Path) -> None:
    code = "import sys, octet; print(octet.load(sys.argv[1]).spec.model_dump_json())"
    assert json.loads(_python(code, str(resnet_pt2)).stdout) == octet.load(resnet_pt2).spec.model_dump(mode="json")

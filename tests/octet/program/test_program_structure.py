"""Models as torch.export writes them: nested inputs and outputs, state, regions, precision, and the core ATen IR."""

from __future__ import annotations

import builtins
import collections
import copy
import dataclasses
import io
import keyword
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from pt2 import MODEL, Document, changed
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

import octet
from octet.errors import InvalidModelError, UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
    # torch's own, in run_decompositions and in the saving of a program
    pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"),
]


@dataclasses.dataclass
class Pair:
    left: Tensor
    right: Tensor | None = None
    more: Any = None


class Point(NamedTuple):
    a: Tensor
    b: Tensor


torch.export.register_dataclass(Pair, serialized_type_name="octet_tests.Pair")
# What torch.export's own message says to call: there is no public way yet.
pytree._register_namedtuple(Point, serialized_type_name="octet_tests.Point")  # noqa: SLF001


def saved(
    model: nn.Module,
    args: tuple[Any, ...],
    folder: Path,
    *,
    kwargs: dict[str, Any] | None = None,
    shapes: Any = None,
    strict: bool = False,
    decomposed: bool = False,
) -> octet.Program:
    """What Octet reads of the model as torch.export saves it."""
    program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=strict)
    if decomposed:
        program = program.run_decompositions()
    torch.export.save(program, folder / "model.pt2")
    return octet.load(folder / "model.pt2")


def tensors(value: Any) -> list[Tensor]:
    """The tensors of nested containers, in order."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def reloaded(module: nn.Module) -> Any:
    """The module as TorchScript, saved and loaded."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module), buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def check_computes(program: octet.Program, inputs: list[Tensor], expected: Any) -> None:
    """The rebuilt module, and its TorchScript, give the tensors of `expected`."""
    for module in (program.module(), reloaded(program.module())):
        torch.testing.assert_close(tensors(module(*inputs)), tensors(expected))


def error(got: Tensor, wanted: Tensor) -> float:
    """How far two tensors are apart, next to the size of the second."""
    assert got.shape == wanted.shape
    return ((got - wanted).norm() / wanted.norm()).item()


class Nested(nn.Module):
    def forward(
        self, pair: Any, table: dict[str, Tensor], data: Pair, scale: float, mode: str, *, key: Tensor, mask: Any = None
    ) -> Tensor:
        assert mask is None
        y = pair[0] + pair[1][0] + table["u"] - table["v"] * scale + data.left
        return y + key if mode == "add" else y


def test_nested_and_keyword_inputs_are_flat_in_order_and_named_by_path(tmp_path: Path) -> None:
    a, b, c, d, e, f = torch.randn(6, 2, 3).unbind()
    args = ((a, [b]), {"v": c, "u": d}, Pair(e), 2.5, "add")
    program = saved(Nested(), args, tmp_path, kwargs={"key": f})
    assert [tensor.name for tensor in program.inputs] == [
        "pair.0",
        "pair.1.0",
        "table.v",
        "table.u",
        "data.left",
        "key",
    ]
    check_computes(program, [a, b, c, d, e, f], Nested()(*args, key=f))


class Kinds(nn.Module):
    def forward(self, ids: Tensor, mask: Tensor, temperature: Tensor, unused: Tensor, *rest: Tensor) -> Tensor:  # noqa: ARG002
        return torch.where(mask, ids, -ids) / temperature + rest[1]


def test_inputs_may_be_integers_booleans_scalars_unused_and_of_any_number(tmp_path: Path) -> None:
    inputs = [torch.arange(4), torch.tensor([True, False] * 2), torch.tensor(2.0), torch.randn(3), *torch.randn(2, 4)]
    program = saved(Kinds(), tuple(inputs), tmp_path)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in program.inputs] == [
        ("ids", "int64", (4,)),
        ("mask", "bool", (4,)),
        ("temperature", "float32", ()),
        ("unused", "float32", (3,)),
        ("rest_0", "float32", (4,)),
        ("rest_1", "float32", (4,)),
    ]
    check_computes(program, inputs, Kinds()(*inputs))


class Times(nn.Module):
    def forward(self, x: Tensor, count: int) -> Tensor:
        return x * count


def test_a_number_that_may_vary_is_refused_by_name_and_one_that_is_fixed_is_part_of_the_model(tmp_path: Path) -> None:
    x = torch.randn(2, 3)
    with pytest.raises(InvalidModelError, match="'count' is a number that may vary") as refused:
        saved(Times(), (x, 4), tmp_path, shapes=({0: Dim.AUTO}, Dim.AUTO))
    assert "fixes it" in str(refused.value)
    program = saved(Times(), (x, 4), tmp_path)
    assert [tensor.name for tensor in program.inputs] == ["x"]
    check_computes(program, [x], x * 4)


# What torch.fx or TorchScript uses in the code it writes, and what Python itself has.
NAMES = (
    "torch", "device", "inf", "nan", "NoneType", "pytree", "fx_pytree", "math", "operator", "octet", "input", "type",
    "range", "getattr", "print", "max", "ops", "annotate", "Tensor", "Optional", "forward", "size", "__torch__",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_input_may_have_a_name_that_generated_code_uses(name: str, tmp_path: Path) -> None:
    assert not keyword.iskeyword(name)
    code = f"""
class Named(nn.Module):
    def forward(self, {name}):
        rows = {name}.shape[0]
        return {name}.reshape(rows, -1) * 2 + builtins.max(rows, 2) + zeros(rows, 3) + float("inf")
"""
    scope: dict[str, Any] = {"nn": nn, "builtins": builtins, "zeros": torch.zeros}
    exec(code, scope)  # noqa: S102 - the name of an argument cannot be a parameter
    x = torch.randn(4, 3)
    program = saved(scope["Named"](), (x,), tmp_path, shapes=({0: Dim("batch")},))
    assert program.inputs[0].name == name
    x = torch.randn(5, 3)
    check_computes(program, [x], scope["Named"]()(x))


class Containers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.linear(x) * self.weight
        return {
            "point": Point(y, y + 1),
            "ordered": collections.OrderedDict(q=y * 2),
            "pair": Pair(y, None, [y * 3, None]),
            "default": collections.defaultdict(list, {"k": y}),
            "none": None,
            "input": x,
            "weight": self.weight,
            "twice": y,
            "a.b": y - 1,
            "a": {"b": y - 2},
            "number": 3,
            "text": "x",
            "rows": x.shape[0],
        }


def test_outputs_are_flat_in_order_and_have_one_name_each_by_path(tmp_path: Path) -> None:
    model, x = Containers().eval(), torch.randn(2, 3)
    program = saved(model, (x,), tmp_path, shapes=({0: Dim("batch")},))
    assert [tensor.name for tensor in program.outputs] == [
        "point.0",
        "point.1",
        "ordered.q",
        "pair.left",
        "pair.more.0",
        "default.k",
        "input",
        "weight",
        "twice",
        "a.b",
        "a.b_2",
    ]
    x = torch.randn(4, 3)
    check_computes(program, [x], model(x))
    assert program.spec.notes == ("Left out of the outputs, since not a tensor: 'number', 'text', 'rows'.",)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(ids))


def test_tied_weights_are_one_tensor_and_counted_once(tmp_path: Path) -> None:
    model, ids = Tied().eval(), torch.arange(6).reshape(2, 3)
    program = saved(model, (ids,), tmp_path)
    assert program.spec.parameters == 28
    assert {layer.name for layer in program.layers} == {"embedding", "head"}
    module = program.module()
    assert module.get_submodule("embedding").weight is module.get_submodule("head").weight
    check_computes(program, [ids], model(ids))


class Precise(nn.Module):
    """A model that writes the lowest number of its own dtype, and computes in it by name."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4).to(dtype)
        self.register_buffer("mask", torch.full((4, 4), torch.finfo(dtype).min, dtype=dtype).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x) + torch.arange(4).to(self.mask.dtype) / 8
        scores = (y.mT @ y).masked_fill(self.mask < -1, torch.finfo(self.mask.dtype).min) + self.mask
        return torch.softmax(scores, -1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions_become_float32_and_the_spec_says_so(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Precise(dtype).eval(), torch.randn(4, 4)
    program = saved(model, (x.to(dtype),), tmp_path)
    assert [tensor.dtype for tensor in (*program.inputs, *program.outputs)] == ["float32", "float32"]
    name = str(dtype).removeprefix("torch.")
    assert program.spec.notes == (
        f"The model has weights and inputs and intermediate values in {name}: they were brought to float32.",
    )
    got = program.module()(x)
    assert got.isfinite().all()
    torch.testing.assert_close(got, model.double()(x.double()).float(), rtol=1e-3, atol=1e-3)


class Clock(nn.Module):
    """Computes positions in double precision, and everything else in single."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * 1e6 / torch.arange(1, 9)
        return self.linear(x + torch.sin(angles).float())


def test_double_precision_inside_a_model_of_single_precision_stays(tmp_path: Path) -> None:
    model, x = Clock().eval(), torch.randn(2, 5, 8)
    program = saved(model, (x,), tmp_path)
    assert program.spec.notes == ()
    check_computes(program, [x], model(x))


class Rotary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("turns", torch.polar(torch.ones(3, 2), torch.randn(3, 2)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.view_as_real(torch.view_as_complex(x.reshape(-1, 3, 2, 2)) * self.turns).flatten(2)


def test_complex_buffers_are_read(tmp_path: Path) -> None:
    model, x = Rotary().eval(), torch.randn(2, 3, 4)
    torch.testing.assert_close(saved(model, (x,), tmp_path).module()(x), model(x))


class Stream(nn.Module):
    """A counter, a ring buffer that is written in part, a copy of the last input, and a norm's statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ring", torch.zeros(4, 3))
        self.register_buffer("last", torch.zeros(3), persistent=False)
        self.linear, self.norm, self.out = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        before = self.last.clone()
        self.count += 1
        self.ring[:2] = self.ring[2:].clone()
        self.ring[2:] = x[:2]
        self.last.copy_(x[0])
        y = self.out(torch.relu(self.norm(self.linear(x))))
        return y + self.linear(self.ring).sum(0), before, self.ring, self.count


def calls(model: Callable[[Tensor], Any], x: Tensor) -> list[list[Tensor]]:
    """What a model gives when it is called three times."""
    return [[tensor.clone() for tensor in tensors(model(x * number))] for number in (1, 2, 3)]


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("decomposed", [False, True], ids=["training IR", "core ATen"])
def test_a_model_that_changes_its_buffers_does_so_when_rebuilt(train: bool, decomposed: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Stream().train(train), torch.randn(2, 3)
    program = saved(copy.deepcopy(model), (x,), tmp_path, decomposed=decomposed)
    expected = calls(model.eval(), x)
    *others, changes = program.spec.notes
    assert changes == "The model changes 'count', 'ring', 'last' as it runs: what it gives depends on the calls before."
    assert ["train mode" in other for other in others] == [True] * train
    module = program.module()
    scripted = torch.jit.script(program.module())
    for rebuilt in (module, reloaded(program.module()), torch.jit.freeze(scripted)):
        torch.testing.assert_close(calls(rebuilt, x), expected)
    torch.testing.assert_close(calls(program.module(), x), expected)  # each starts from the file's state


@pytest.mark.parametrize("method", ["static", "dynamic", "qat"])
def test_a_saved_int8_model_starts_from_the_state_of_the_file(method: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Stream().eval(), torch.randn(4, 3)
    expected = calls(copy.deepcopy(model), x)
    recipe = octet.Recipe.model_validate(
        {"method": method, "calibration": {"source": "synthetic", "samples": 16}, "measure": {"seconds": 0.1}}
    )
    result = octet.quantize(saved(model, (x,), tmp_path), recipe)
    result.save(tmp_path / "artifact")
    assert any("'count', 'ring'" in warning for warning in result.report.warnings)
    assert sum(layer.method != "float" for layer in result.report.layers) >= 2
    for got, wanted in zip(calls(torch.jit.load(tmp_path / "artifact" / "model.pt"), x), expected, strict=True):
        assert torch.equal(got[-1], wanted[-1])  # the count
        torch.testing.assert_close(got[2], wanted[2])  # the ring
        assert error(got[0], wanted[0]) < 0.4


class Overwrites(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        return x + 1


@pytest.mark.parametrize("decomposed", [False, True], ids=["training IR", "core ATen"])
def test_an_input_that_the_source_overwrites_is_left_as_it_is(decomposed: bool, tmp_path: Path) -> None:
    program, x = saved(Overwrites(), (torch.randn(2, 3),), tmp_path, decomposed=decomposed), torch.randn(2, 3)
    before = x.clone()
    torch.testing.assert_close(program.module()(x), before * 2 + 1)
    assert torch.equal(x, before)


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda value: value.sin(), lambda value: value * 2, (x,))


def test_control_flow_is_refused_by_name_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedOperatorError, match=r"higher_order\.cond \(.*test_program_structure\.py:\d+: .*cond"
    ):
        saved(Branch(), (torch.randn(2, 3),), tmp_path, strict=True)


class Regions(nn.Module):
    """Regions in regions, with open sizes in them and results that are used outside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.outer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
            with torch.no_grad():
                y = self.inner(x).reshape(x.shape[0], 2, 2)
                with torch.enable_grad():
                    z = self.outer(x) + torch.arange(x.shape[0])[:, None]
            w = y.flatten(1)
        return self.outer(w) + z, y


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
def test_regions_inside_regions_join_the_graph_with_open_sizes(strict: bool, tmp_path: Path) -> None:
    model = Regions().eval()
    program = saved(model, (torch.randn(3, 4),), tmp_path, shapes=({0: Dim("batch")},), strict=strict)
    x = torch.randn(5, 4)
    check_computes(program, [x], model(x))
    assert [layer.name for layer in program.layers] == ["inner.0", "inner.1", "outer"]


def test_what_autocast_computes_in_bfloat16_is_computed_in_float32(tmp_path: Path) -> None:
    class Autocast(Regions):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.outer(self.inner(x)).float()

    model, x = Autocast().eval(), torch.randn(3, 4)
    program = saved(model, (x,), tmp_path)
    assert "intermediate values in bfloat16" in program.spec.notes[0]
    torch.testing.assert_close(program.module()(x), model.outer(model.inner(x)))


class Trained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.RReLU(), nn.Dropout2d(0.5))
        self.norm = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.dropout(self.norm(self.body(x)), 0.3, self.training)
        return nn.functional.scaled_dot_product_attention(y, y, y, dropout_p=0.1 if self.training else 0.0)


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
def test_a_model_exported_in_train_mode_computes_as_in_eval_mode(strict: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Trained().train(), torch.randn(2, 3, 6, 6)
    model(x)  # gives the norms statistics
    program = saved(copy.deepcopy(model), (x,), tmp_path, strict=strict)
    assert ["train mode" in note for note in program.spec.notes] == [True]  # and of no state
    check_computes(program, [x], model.eval()(x))


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, groups=2), nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 4, 2, 2),
        )  # fmt: skip
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.adaptive_avg_pool2d(self.body(x), 1).flatten(1))


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.log_softmax(self.head(self.layer(self.embedding(ids))), -1)


CORE: dict[str, tuple[type[nn.Module], Tensor, dict[str, str]]] = {
    "convolutional": (
        Convolutional,
        torch.randn(2, 3, 12, 12),
        {
            "body.0": "Conv2d",
            "body.1": "BatchNorm2d",
            "body.2": "ReLU",
            "body.4": "Conv2d",
            "body.5": "GroupNorm",
            "body.6": "ConvTranspose2d",
            "head": "Linear",
        },
    ),
    "attentive": (
        Attentive,
        torch.arange(10).reshape(2, 5),
        {
            "embedding": "Embedding",
            "layer.self_attn.out_proj": "Linear",
            "layer.norm1": "LayerNorm",
            "layer.linear1": "Linear",
            "layer.linear2": "Linear",
            "layer.norm2": "LayerNorm",
            "head": "Linear",
        },
    ),
}


@pytest.mark.parametrize("name", CORE)
def test_a_model_that_was_decomposed_gets_its_layers_back(name: str, tmp_path: Path) -> None:
    kind, x, layers = CORE[name]
    model = kind().eval()
    program = saved(model, (x,), tmp_path, shapes=({0: Dim("batch")},), decomposed=True)
    assert layers.items() <= {layer.name: layer.type for layer in program.layers}.items()
    check_computes(program, [x[:1]], model(x[:1]))


class OpenNorm(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        turned = x.transpose(0, 1)
        return nn.functional.layer_norm(turned, turned.shape[-1:]), x.sum(0, keepdim=True)[:, 0].view(())


def test_a_norm_over_an_open_size_and_a_view_of_no_size_are_rebuilt(tmp_path: Path) -> None:
    program = saved(OpenNorm(), (torch.randn(3, 4),), tmp_path, shapes=({0: Dim("batch")},))
    x, module = torch.randn(5, 4), program.module()
    torch.testing.assert_close(module(x), OpenNorm()(x))
    torch.testing.assert_close(reloaded(module)(x), OpenNorm()(x))


class NormOfItself(nn.Module):
    """Weights and statistics that an input has a part in: no module can own them."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weight = x[0, :, 0]
        statistics = weight * 2, weight.abs() + 1
        return (
            nn.functional.batch_norm(x, *statistics, weight, weight),
            nn.functional.batch_norm(x, None, None, weight, weight, training=True),
        )


def test_a_batch_norm_that_was_decomposed_may_take_its_weights_from_the_input(tmp_path: Path) -> None:
    x = torch.randn(3, 4, 5)
    module = saved(NormOfItself(), (x,), tmp_path, decomposed=True).module()
    torch.testing.assert_close(module(x), NormOfItself()(x))
    torch.testing.assert_close(reloaded(module)(x), NormOfItself()(x))


def test_a_batch_norm_does_not_read_past_its_statistics(tmp_path: Path) -> None:
    def shorten(document: Document) -> None:
        values = document["graph_module"]["graph"]["nodes"]
        norm = next(node for node in values if "no_training" in node["target"])
        mean, short = (next(a for a in norm["inputs"] if a["name"] == name) for name in ("running_mean", "bias"))
        first = {"target": "torch.ops.aten.slice.Tensor", "outputs": [{"as_tensor": {"name": "short"}}], "metadata": {}}
        numbers = [{"name": name, "arg": {"as_int": value}, "kind": 1} for name, value in (("start", 0), ("end", 1))]
        first["inputs"] = [{**mean, "name": "self"}, {"name": "dim", "arg": {"as_int": 0}, "kind": 1}, *numbers]
        short["arg"] = mean["arg"] = first["outputs"][0]
        values.insert(values.index(norm), first)

    x = torch.randn(3, 4, 5)
    program = saved(NormOfItself(), (x,), tmp_path, decomposed=True)
    module = octet.load(changed(program.path, tmp_path / "short.pt2", MODEL, shorten)).module()
    with pytest.raises(RuntimeError, match="should contain 4 elements not 1"):
        module(x)


def test_a_trained_batch_norm_that_was_decomposed_has_its_statistics(tmp_path: Path) -> None:
    model, x = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)).train(), torch.randn(4, 3, 8)
    model(x)
    program = saved(copy.deepcopy(model), (x,), tmp_path, decomposed=True)
    assert ["train mode" in note for note in program.spec.notes] == [True]  # and of no state
    check_computes(program, [x], model.eval()(x))


class Open(nn.Module):
    """Batch, height, width and length open."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.embedding, self.mix, self.out = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        picture = torch.relu(self.conv(image)).flatten(2).mT
        words = self.mix(self.embedding(ids)) + torch.arange(ids.shape[1])[:, None] / 10
        return self.out(torch.cat([picture, words], 1))


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_open_sizes_stay_open_in_the_int8_artifact(method: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    batch, model = Dim("batch"), Open().eval()
    example = (torch.randn(2, 3, 8, 8), torch.ones(2, 5, dtype=torch.long))
    shapes = ({0: batch, 2: Dim("height"), 3: Dim("width")}, {0: batch, 1: Dim("length")})
    program = saved(model, example, tmp_path, shapes=shapes)
    recipe = octet.Recipe.model_validate(
        {"method": method, "calibration": {"source": "synthetic", "samples": 16}, "measure": {"seconds": 0.1}}
    )
    result = octet.quantize(program, recipe)
    assert any(layer.method != "float" for layer in result.report.layers)
    result.save(tmp_path / "artifact")
    int8 = torch.jit.load(tmp_path / "artifact" / "model.pt")
    for rows, height, width, length in ((1, 6, 10, 3), (5, 12, 4, 9)):
        inputs = (torch.randn(rows, 3, height, width), torch.randint(0, 9, (rows, length)))
        assert error(int8(*inputs), model(*inputs)) < 0.25


class Paths(nn.Module):
    """Containers, a module that is called twice, and functional calls inside a container."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh())])
        self.named = nn.ModuleDict({"a": nn.Linear(4, 4)})
        self.shared = nn.Linear(4, 4)
        self.block = Functional()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        x = self.shared(self.block(self.shared(self.named["a"](x))))
        return self.attention(x, x, x, need_weights=False)[0]


class Functional(nn.Module):
    """A linear layer of its own making: its weight lies where the module is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.elu(nn.functional.linear(x, self.weight))


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
def test_every_layer_keeps_the_path_of_the_source(strict: bool, tmp_path: Path) -> None:
    model, x = Paths().eval(), torch.randn(2, 3, 4)
    program = saved(model, (x,), tmp_path, strict=strict)
    assert [(layer.name, layer.type) for layer in program.layers] == [
        ("steps.0", "Linear"),
        ("steps.1.0", "Linear"),
        ("steps.1.1", "Tanh"),
        ("named.a", "Linear"),
        ("shared", "Linear"),
        ("block", "Linear"),
        ("block_elu", "ELU"),
        ("attention.in_proj", "Linear"),
        ("attention.out_proj", "Linear"),
    ]
    check_computes(program, [x], model(x))

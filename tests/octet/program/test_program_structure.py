"""Nested inputs and outputs, names, tied weights, and the paths of layers."""

from __future__ import annotations

import builtins
import collections
import dataclasses
import keyword
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from exported import check_computes, saved
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from octet.errors import InvalidModelError

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [
    pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations"),
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

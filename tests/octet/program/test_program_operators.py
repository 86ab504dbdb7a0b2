"""Each tensor operator of the table computes what torch computes: eager, scripted, traced again, and beside int8."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import calls_elementwise
import calls_folding
import calls_moving
import pytest
import torch
from quantizing import methods_of, quantized, recipe_of
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import octet
from octet.program import ops

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations"),
    # torch's word to those who call these: they are here because models do.
    pytest.mark.filterwarnings("ignore:torch.(chain_matmul|qr|cholesky|triangular_solve|lu_solve|norm|svd|range)"),
    pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter with Tensor src is deprecated"),
    pytest.mark.filterwarnings(r"ignore:index_reduce\(\) is in beta"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid. in an upcoming release"),
    pytest.mark.filterwarnings("ignore:at..(nuclear|frobenius)_norm is deprecated"),
    pytest.mark.filterwarnings("ignore:A window was not provided"),
    pytest.mark.filterwarnings(r"ignore:torch.searchsorted\(\). input value tensor is non-contiguous"),
]

CALLS: dict[str, Callable[[Tensor], object]] = {
    **calls_elementwise.CALLS,
    **calls_folding.CALLS,
    **calls_moving.CALLS,
}
TABLES = (
    ops.arithmetic, ops.reductions, ops.products, ops.shapes, ops.indexing, ops.creation, ops.spectral,
)  # fmt: skip

# torch 2.13 makes others of these while it traces; its serializer knows them, and files of other versions hold them.
NOT_TRACED = {
    "_operator.lshift", "_operator.pos", "_operator.rshift", "aten.sym_constrain_range",
    "aten.sym_constrain_range_for_size", "aten.sym_numel", "torch.sym_int",
}  # fmt: skip


class Network(nn.Module):
    """A convolution, then the call."""

    def __init__(self, call: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 3, padding=1)
        self.call = call

    def forward(self, x: Tensor) -> object:
        return self.call(self.stem(x))


@dataclass(frozen=True)
class Case:
    """A network, and what was read of its file."""

    model: nn.Module
    program: octet.Program
    x: Tensor

    def expected(self) -> list[Tensor]:
        """What the source gives for a batch that it was not exported with."""
        return _tensors(self.model(self.x.clone()))


def _tensors(value: object) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[nn.Module, Path]]:
    """A network with that family of operators, and its file."""
    folder = tmp_path_factory.mktemp("calls")

    @cache
    def export(name: str) -> tuple[nn.Module, Path]:
        torch.manual_seed(0)
        model = Network(CALLS[name]).eval().requires_grad_(requires_grad=False)
        return model, octet.export(model, torch.randn(2, 4, 6, 6), folder / f"{name}.pt2")

    return export


@pytest.fixture(scope="module", params=CALLS)
def case(request: pytest.FixtureRequest, exported: Callable[[str], tuple[nn.Module, Path]]) -> Case:
    """A network, and what was read of its file."""
    model, path = exported(request.param)
    return Case(model, octet.load(path), torch.randn(3, 4, 6, 6))


def test_operators_compute_what_torch_computes(case: Case) -> None:
    torch.testing.assert_close(_tensors(case.program.module()(case.x.clone())), case.expected(), equal_nan=True)


def test_operators_script(case: Case) -> None:
    scripted = torch.jit.script(case.program.module())
    torch.testing.assert_close(_tensors(scripted(case.x.clone())), case.expected(), equal_nan=True)


def test_tracing_again_leaves_the_batch_open(case: Case) -> None:
    """As prepare_fx does: nothing may then be computed for the one batch it was traced with."""
    traced = torch.fx.symbolic_trace(case.program.module())
    torch.testing.assert_close(_tensors(traced(case.x.clone())), case.expected(), equal_nan=True)


def test_static_quantization_goes_round_them(case: Case) -> None:
    result = quantized(case.program.module(), recipe_of("static"), case.x)
    assert methods_of(result)["stem"] == "static"
    assert [value.dtype for value in _tensors(result.scripted(case.x))] == [value.dtype for value in case.expected()]


def test_every_row_is_exercised_by_an_exported_model(exported: Callable[[str], tuple[nn.Module, Path]]) -> None:
    seen = set().union(*(_targets(exported(name)[1]) for name in CALLS))
    rows = {f"aten.{name}" for table in TABLES for name in table.OPS} | set(ops.symbolic.OPS)
    assert rows - seen == NOT_TRACED


def _targets(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        document = json.loads(archive.read("model/models/model.json"))
    nodes = document["graph_module"]["graph"]["nodes"]
    return {ops.canonical(node["target"].removeprefix("torch.ops.")) for node in nodes}


def test_every_row_of_the_table_names_something_that_torch_has() -> None:
    for target in ops.OPS:
        space, _, name = target.partition(".")
        packet, _, overload = name.partition(".")
        if space == "aten" and name != "fill_diagonal":  # which has only its in-place form
            assert (overload or "default") in getattr(torch.ops.aten, packet).overloads(), target

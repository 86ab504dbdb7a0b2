"""What torch.export writes beside calls: precision, state, modes, regions, control flow."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from exported import check_computes, error, reloaded, saved, tensors
from torch import Tensor, nn
from torch.export import Dim

import octet
from octet.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


pytestmark = [
    pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations"),
    # torch's own, in run_decompositions and in the saving of a program
    pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"),
]


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
    with pytest.raises(UnsupportedOperatorError, match=r"higher_order\.cond \(.*test_program_state\.py:\d+: .*cond"):
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

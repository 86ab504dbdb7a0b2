"""`octet.export` writes a `.pt2` with an open batch, or says why it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

import octet
from octet.errors import ExportFailedError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_batch_is_open_whatever_the_example_was(size: int, tmp_path: Path) -> None:
    path = octet.export(nn.Linear(4, 3), torch.randn(size, 4), tmp_path / "model.pt2")
    module = octet.load(path).module()
    assert [module(torch.randn(count, 4)).shape for count in (1, 5)] == [(1, 3), (5, 3)]


class Scorer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, query: Tensor, documents: Tensor) -> Tensor:
        return self.linear(query) @ documents.transpose(0, 1)


def test_inputs_share_one_batch_where_they_can(tmp_path: Path) -> None:
    program = octet.load(octet.export(Scorer(), (torch.randn(3, 4), torch.randn(3, 4)), tmp_path / "model.pt2"))
    assert [tensor.shape for tensor in program.inputs] == [("batch", 4), ("batch", 4)]


def test_inputs_of_different_lengths_each_keep_their_own(tmp_path: Path) -> None:
    program = octet.load(octet.export(Scorer(), (torch.randn(3, 4), torch.randn(9, 4)), tmp_path / "model.pt2"))
    assert [tensor.shape for tensor in program.inputs] == [("batch", 4), ("documents_dim0", 4)]
    assert program.outputs[0].shape == ("batch", "documents_dim0")


def test_the_model_is_exported_in_eval_mode_and_left_as_it_was(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4)).train()
    model[2].eval()
    path = octet.export(model, torch.randn(2, 4), tmp_path / "model.pt2")
    assert [module.training for module in model.modules()] == [True, True, True, False]
    x = torch.randn(3, 4)
    torch.testing.assert_close(octet.load(path).module()(x), model.eval()(x))


def test_the_same_model_gives_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    model, x = nn.Linear(4, 3), torch.ones(2, 4)
    first, second = (octet.export(model, x, tmp_path / name) for name in ("one.pt2", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.pt2", "two"]


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x


def test_a_branch_on_values_is_named_with_its_line_and_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"what was there before")
    with pytest.raises(ExportFailedError) as failed:
        octet.export(Branches(), torch.randn(2, 4), path)
    assert "Branches could not be exported at " in failed.value.message
    assert "test_octet_exporting.py:" in failed.value.message
    assert "(if x.sum() > 0:)" in failed.value.message
    assert "torch.where" in str(failed.value.hint)
    assert path.read_bytes() == b"what was there before"


class FixedBatch(nn.Module):
    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(self.shape) * 2


@pytest.mark.parametrize("shape", [(2, -1), (2, 8)])
def test_a_model_that_fixes_its_batch_is_told_where_to_look(shape: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError, match="fixes the batch size") as failed:
        octet.export(FixedBatch(shape), torch.randn(2, 8), tmp_path / "model.pt2")
    assert "x.size(0)" in str(failed.value.hint)


@pytest.mark.parametrize("inputs", [(), (torch.tensor(1.0),), (torch.randn(0, 4),), (3,)])
def test_examples_without_a_sample_are_refused(inputs: tuple[object, ...], tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError, match="at least one sample"):
        octet.export(nn.Linear(4, 3), inputs, tmp_path / "model.pt2")


def test_a_missing_folder_is_said_before_anything_is_exported(tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError, match="does not exist"):
        octet.export(nn.Linear(4, 3), torch.randn(2, 4), tmp_path / "missing" / "model.pt2")

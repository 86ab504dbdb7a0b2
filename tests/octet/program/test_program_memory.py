"""Writes to memory, and to views of it, become values: the program computes what the source computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import octet
from octet.errors import OctetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations")


def select(x: Tensor) -> object:
    x[:, 0] = 0
    x[0, 1] = 5.0
    x[..., -1] = x[..., 0] * 2
    return x


def slices(x: Tensor) -> object:
    part = x[:, 1:3]
    part[..., 0] += 1
    x[:, :, ::2] = 0
    return x, part


def mask(x: Tensor) -> object:
    x[x > 0] = -1.0
    x[:, [0, 2]] = 1.0
    x[torch.arange(x.shape[0]), 0] = 2.0
    return x


def another_order(x: Tensor) -> object:
    last = x.permute(0, 2, 3, 1)
    last[..., 0] = 2
    x.transpose(1, 2)[:, 0].fill_(3)
    x.mT.tril_()
    x.movedim(1, 2)[:, 0].neg_()
    x.swapaxes(1, 2)[:, 1].zero_()
    return x, last


def another_shape(x: Tensor) -> object:
    flat = x.view(x.shape[0], -1)
    flat[:, 5] = 1
    x.unsqueeze(1).squeeze(1)[:, :, 0].copy_(x[:, :, 1])
    x.flatten(2).exp_()
    x.reshape(x.shape[0], -1)[:, 7] += 1
    x.ravel()[0] = 3
    return x, flat


def pieces(x: Tensor) -> object:
    one, other = x.chunk(2, 1)
    one.mul_(2)
    other.add_(one)
    for place, piece in enumerate(x.unbind(1)):
        piece.add_(place)
    x.tensor_split(3, 1)[1].zero_()
    x.split([1, 3], 1)[0].sub_(1)
    return x, one, other


def diagonal_and_narrow(x: Tensor) -> object:
    x.diagonal(0, 2, 3).fill_(1.0)
    part = x.narrow(1, 1, 2)
    part.masked_fill_(part > 0, 0.0)
    return x


def the_same_tensor(x: Tensor) -> object:
    same = F.dropout(x.detach().to(torch.float32).contiguous(), 0.5, training=False)
    same.relu_()
    return x, same


def a_copy(x: Tensor) -> object:
    copy = x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)
    copy.sin_()
    packed = x.mT.contiguous()
    packed.sin_()
    return x, copy, packed


def a_view_that_cannot_be_written(x: Tensor) -> object:
    wide = x.expand(2, *x.shape)
    windows = x.unfold(2, 2, 2)
    x.add_(1)
    return wide, windows


def complex_parts(x: Tensor) -> object:
    values = torch.view_as_complex(x.view(x.shape[0], 4, 18, 2))
    values.mul_(values)
    return x, values.abs()


def steps_of_time(x: Tensor) -> object:
    out = torch.zeros(x.shape[0], 4, 6, 6)
    state = x[:, 0].clone()
    for step in range(4):
        state = torch.tanh(state + x[:, step])
        out[:, step] = state
    return out


def attention_mask(x: Tensor) -> object:
    allowed = torch.full((6, 6), float("-inf"))
    allowed.triu_(1)
    allowed[:2] = 0
    return (x + allowed).softmax(-1)


def another_form_of_itself(x: Tensor) -> object:
    turned = x.clone()
    turned.transpose_(1, 2)
    turned += 1
    turned.squeeze_().unsqueeze_(0).swapaxes_(1, 2)
    return turned


def another_form_of_a_view(x: Tensor) -> object:
    flat, again = x.view(-1), x.reshape(-1)
    again.unsqueeze_(0)
    flat[0] *= 3
    turned = x.movedim(1, 0)
    x.transpose_(1, 2)
    x.neg_()
    return x, flat, again, turned


def dtypes(x: Tensor) -> object:
    x.add_(x.double())
    x.gt_(x * 0.5)
    x.logical_not_()
    truth = x > 0
    truth |= x < -1
    truth &= x > -2
    truth ^= x > 1
    places = (x * 10).long()
    places <<= 1
    places //= 3
    places **= 2
    counts = (x * 3).int()
    counts.cumsum_(1)
    return x, truth, places, counts


def places(x: Tensor) -> object:
    x.index_add_(1, torch.tensor([0]), x[:, :1].clone())
    x.index_fill_(1, torch.tensor([2]), 0.0)
    x.index_copy_(1, torch.tensor([3]), x[:, :1].clone())
    x.scatter_(1, torch.zeros_like(x).long(), 1.0)
    x.masked_scatter_(x > 0, x * 2)
    return x


def crossed(x: Tensor) -> object:
    first = x[:, 0]
    first += x[:, 1]
    x[:, 1] += first
    first -= 1
    x[:, 2], x[:, 3] = x[:, 3].clone(), x[:, 2].clone()
    return x, first


WRITES = (
    select, slices, mask, another_order, another_shape, pieces, diagonal_and_narrow, the_same_tensor, a_copy,
    a_view_that_cannot_be_written, complex_parts, steps_of_time, attention_mask, another_form_of_itself,
    another_form_of_a_view, dtypes, places, crossed,
)  # fmt: skip


class Writing(nn.Module):
    """A write to a fresh tensor."""

    def __init__(self, write: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.write = write

    def forward(self, x: Tensor) -> object:
        return self.write(x * 2)


def _load(model: nn.Module, folder: Path) -> octet.Program:
    return octet.load(octet.export(model.eval(), torch.randn(2, 4, 6, 6), folder / "model.pt2"))


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_a_write_is_seen_wherever_the_memory_is_read(write: Callable[[Tensor], object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Writing(write)
    module = _load(model, tmp_path).module()
    x = torch.randn(3, 4, 6, 6)
    expected = pytree.tree_leaves(model(x))
    torch.testing.assert_close(pytree.tree_leaves(module(x)), expected)
    torch.testing.assert_close(pytree.tree_leaves(torch.jit.script(module)(x)), expected)
    torch.testing.assert_close(pytree.tree_leaves(torch.fx.symbolic_trace(module)(x)), expected)


def test_nothing_of_the_input_is_overwritten(tmp_path: Path) -> None:
    class Overwriting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x[:, 0] = 0
            return x * 2

    module = _load(Overwriting(), tmp_path).module()
    x = torch.randn(3, 4, 6, 6)
    before = x.clone()
    torch.testing.assert_close(module(x), Overwriting()(x.clone()))
    torch.testing.assert_close(x, before)


def test_a_write_that_cannot_be_undone_is_refused_with_its_line(tmp_path: Path) -> None:
    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            y.unfold(2, 2, 2).add_(1)
            return y

    with pytest.raises(OctetError, match=r"overwrites part of a tensor that is read later") as refused:
        _load(Windows(), tmp_path)
    assert "y.unfold(2, 2, 2).add_(1)" in str(refused.value)


REFUSED: dict[str, Callable[[Tensor], object]] = {
    "a view that is expanded": lambda x: (x, x[None].expand(2, -1, -1, -1, -1).masked_fill_(x > 0, 0.0)),
    "what a grid is made of": lambda x: (torch.meshgrid(x[0, 0, 0], x[0, 0, 1], indexing="ij"), x.neg_()),
    "what is broadcast": lambda x: (torch.broadcast_tensors(x, x[:1]), x.neg_()),
    "what einsum merely turns": lambda x: (torch.einsum("bchw->bhwc", x), x.neg_()),
}


@pytest.mark.filterwarnings("ignore:Use of masked_fill_ on expanded tensors")
@pytest.mark.parametrize("what", REFUSED)
def test_what_may_share_memory_is_refused_rather_than_guessed(what: str, tmp_path: Path) -> None:
    with pytest.raises(OctetError, match=r"overwrit.* later"):
        _load(Writing(REFUSED[what]), tmp_path)


def test_what_nobody_reads_after_such_a_write_does_not_matter(tmp_path: Path) -> None:
    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 2).unfold(2, 2, 2).add_(1)

    x = torch.randn(3, 4, 6, 6)
    torch.testing.assert_close(_load(Windows(), tmp_path).module()(x), Windows()(x))

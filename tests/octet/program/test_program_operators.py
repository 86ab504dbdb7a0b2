"""Each operator of the table computes what torch computes: eager, scripted and traced again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import octet
from octet.program.ops import OPS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations")

# name -> what is done to a float tensor [batch, 4, 6, 6].
CALLS: dict[str, Callable[[Tensor], object]] = {
    "activations": lambda x: (
        F.selu(x)
        + F.celu(x, 1.5)
        + F.softplus(x, 2.0)
        + F.logsigmoid(x)
        + F.hardtanh(x, -2.0, 0.5)
        + F.glu(x, 2).repeat(1, 1, 2, 1)
    ),
    "shrinking activations": lambda x: (
        F.softshrink(x, 0.3) + F.hardshrink(x) + F.threshold(x, 0.1, -1.0) + F.rrelu(x) + F.tanhshrink(x)
    ),
    "dropouts": lambda x: F.alpha_dropout(
        F.dropout2d(F.dropout(x, 0.3, training=False), training=False), training=False
    ),
    "unary": lambda x: (
        x.abs().add(1).log() + x.exp().rsqrt() + x.sin() * x.cos() + x.floor() - x.ceil() + x.sign() + x.erf()
    ),
    "binary": lambda x: (
        torch.maximum(x, 1 - x) / torch.minimum(x, -x).clamp(max=-0.1) + x.square().reciprocal() ** x.sigmoid()
    ),
    "division": lambda x: torch.div(x, 0.3, rounding_mode="floor") + x.remainder(0.7) + (x * 10).round(),
    "logic": lambda x: ((x > 0) & (x < 1) | ~(x >= -1) | (x == 0)).logical_or(x.ne(x)).logical_and(x.le(2)),
    "where": lambda x: torch.where(x > 0, x, 0.0) + torch.where(x > 0, 1.0, x) + x.masked_fill(x > 1, -1.0),
    "reductions": lambda x: (
        x.sum(),
        x.mean(),
        x.sum((1, 2)),
        x.amax(1),
        x.amin((2, 3), keepdim=True),
        x.max(),
        x.min(),
    ),
    "extremes": lambda x: (*x.max(1), *x.min(2, keepdim=True), x.argmax(-1), x.argmin(1), *x.flatten(1).topk(3)),
    "statistics": lambda x: (
        x.var(1),
        x.std((2, 3), unbiased=False),
        x.logsumexp(1),
        x.cumsum(-1),
        F.normalize(x, dim=1),
    ),
    "truth": lambda x: ((x > 0).any(), (x > 0).all(1), (x > -9).all(), (x > 0).any(2)),
    "products": lambda x: torch.einsum("bchw,bdhw->bcd", x, x) @ torch.bmm(x[:, 0], x[:, 1]).new_ones(4, 4),
    "addmm": lambda x: torch.addmm(x[0, 0], x[0, 1], x[0, 2], beta=0.5) + torch.baddbmm(x[:, 0], x[:, 1], x[:, 2]),
    "shapes": lambda x: (
        x.unflatten(1, (2, 2)).squeeze().unsqueeze(0).movedim(0, 1).flip(-1).roll(1, -1).expand(-1, 3, -1, -1, -1, -1)
    ),
    "order": lambda x: (
        x[:, 0].mT + F.pixel_shuffle(x, 2)[:, 0, :6, :6] + F.channel_shuffle(x, 2).sum(1).permute(0, 2, 1)
    ),
    "parts": lambda x: (
        *x.split(3, dim=1),
        *x.split([1, 3], dim=1),
        *x.unbind(2)[:2],
        x.narrow(1, 1, 2),
        x[:, ::2, 1:-1],
    ),
    "indices": lambda x: (
        x[:, torch.tensor([2, 0])],
        x.index_select(1, torch.tensor([1, 1])),
        x.gather(1, torch.zeros_like(x).long()),
    ),
    "triangles": lambda x: x.tril() + x.triu(1) + torch.stack([x, x]).sum(0) + x.repeat(1, 1, 2, 1)[:, :, :6],
    "repeats": lambda x: x.repeat_interleave(2, dim=1) + torch.cat([x, x.clone().contiguous()], 1),
    "new": lambda x: (
        x.new_zeros(x.shape[0], 2),
        torch.ones(x.shape),
        torch.full((x.shape[0], 3), 7),
        torch.ones_like(x),
        torch.full_like(x, 0.5),
    ),
    "ranges": lambda x: (
        torch.arange(x.shape[0]),
        torch.arange(1, x.shape[0] * 2, 2) * 1.0,
        torch.arange(0.0, 2.0, 0.5),
    ),
    "sizes": lambda x: x.reshape(x.shape[0] * 2, -1).view(x.shape[0], 2 * x.shape[1] // 4, -1) / (x.shape[0] + 1),
    "conversions": lambda x: (x.double().float() + x.to(torch.int32)).type_as(x) + x.long().bool().to(x.dtype),
    "pools": lambda x: (
        F.max_pool2d(x, 2),
        F.avg_pool2d(x, 3, 1, 1, divisor_override=4),
        F.adaptive_max_pool2d(x, 2),
        F.adaptive_avg_pool1d(x[:, 0], 3),
    ),
    "pools 3d": lambda x: (
        F.max_pool3d(x, 2),
        F.avg_pool3d(x, 2),
        F.adaptive_avg_pool3d(x, 2),
        F.adaptive_max_pool1d(x[:, 0], 2),
    ),
    "resizing": lambda x: (
        F.interpolate(x, scale_factor=2, mode="bicubic")
        + F.interpolate(x, size=(12, 12), mode="bilinear", align_corners=True),
        F.interpolate(x[:, 0], scale_factor=2.0),
        F.interpolate(x[:, 0], scale_factor=2.0, mode="linear"),
    ),
    "padding": lambda x: (
        F.pad(x, (1, 2), value=3.0) + F.pad(x[0], (2, 1), mode="reflect") + F.pad(x[0], (0, 3), mode="replicate")
    ),
    "in place": lambda x: x.mul(2).add_(1).relu_().clamp_(max=1).sub_(x).div_(2).masked_fill_(x > 1, 0.0),
    "alpha": lambda x: torch.add(x, x.exp(), alpha=0.5) + torch.sub(x, 1, alpha=3) + torch.rsub(x, 2),
    "functional norms": lambda x: (
        F.instance_norm(x) + F.layer_norm(x, (6, 6)) + F.group_norm(x, 2) + F.batch_norm(x, None, None, training=True)
    ),
    "functional layers": lambda x: (
        F.conv2d(x, torch.ones(2, 4, 3, 3) * 0.1, padding="valid") + F.linear(x[:, :2, :4], x[0, 0, :4]).mean()
    ),
}


class Call(nn.Module):
    def __init__(self, call: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> object:
        return self.call(x)


def _leaves(value: object) -> list[Tensor]:
    return pytree.tree_leaves(value)


@pytest.mark.parametrize("name", CALLS)
def test_operators_compute_what_torch_computes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Call(CALLS[name]).eval()
    module = octet.load(octet.export(model, torch.randn(2, 4, 6, 6), tmp_path / "model.pt2")).module()
    x = torch.randn(3, 4, 6, 6)
    expected = _leaves(model(x.clone()))
    torch.testing.assert_close(_leaves(module(x.clone())), expected)
    torch.testing.assert_close(_leaves(torch.jit.script(module)(x.clone())), expected)
    # prepare_fx traces the module again; nothing may then be computed for the one batch it was traced with.
    torch.testing.assert_close(_leaves(torch.fx.symbolic_trace(module)(x.clone())), expected)


def test_every_row_of_the_table_names_something_that_torch_has() -> None:
    for target in OPS:
        space, _, name = target.partition(".")
        packet, _, overload = name.partition(".")
        if space == "aten":
            assert hasattr(getattr(torch.ops.aten, packet), overload or "default"), target

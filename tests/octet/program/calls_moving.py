"""Calls of operators that move values, look them up, make new ones, and compute with sizes."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from operator_calls import batch, each, itself, number, positive, small, whole
from torch import Tensor

aten = torch.ops.aten


def row(x: Tensor) -> Tensor:
    """[6]."""
    return x[0, 0, 0]


CALLS = {
    "shapes": lambda x: (
        x.unflatten(1, (2, 2)).squeeze().squeeze(0).squeeze((0, 1)).unsqueeze(0).flatten(1),
        x[:, :1].expand(-1, 4, -1, -1) + x[:, :1].broadcast_to(batch(x), 4, 6, 6),
        x[:, :1].expand_as(x) + x.view_as(x).reshape_as(x) + x.view(batch(x), 4, 6, 6).reshape(x.shape),
        x.ravel(),
        each(aten, "_unsafe_view", itself, lambda x: [batch(x), -1])(x),
        torch.broadcast_tensors(x, x[:, :1]),
        *each(torch, "atleast_1d atleast_2d atleast_3d", row)(x),
        *each(torch, "atleast_1d atleast_2d atleast_3d", lambda x: [row(x), row(x)])(x),
    ),
    "order": lambda x: (
        x[:, 0].mT + x[:, 0].permute(0, 2, 1) + x[:, 0].transpose(1, 2) + x[:, 0].swapaxes(1, 2).swapdims(1, 2),
        x.movedim(1, 2) + x.moveaxis(1, 2) + x.movedim((1, 2), (2, 1)) + x.moveaxis((1, 2), (2, 1)),
        x[0, 0].T + x[0, 0].t() + row(x).t(),
        x[0, 0].mH + x[0, 0].H + x[0, 0].adjoint(),
        x.flip(-1).roll(1, -1).rot90(1, (2, 3)).fliplr().flipud(),
        F.pixel_shuffle(x, 2),
        F.channel_shuffle(x.mT.contiguous(), 2) + aten.native_channel_shuffle(x[:1], 2),
    ),
    "triangles and diagonals": lambda x: (
        x.tril() + x.triu(1),
        x.diag_embed(),
        x.diagonal(0, 2, 3),
        *each(torch, "diag diagflat", row)(x),
        x[0, 0].diag(),
        x.unfold(2, 3, 1),
        x.contiguous().as_strided((2, 2), (1, 2)),
    ),
    "joining": lambda x: (
        *each(torch, "cat concat concatenate stack hstack vstack dstack row_stack column_stack", lambda x: [x, x])(x),
        *each(torch, "cartesian_prod", row, row)(x),
        torch.block_diag(x[0, 0], x[0, 1]),
        torch.meshgrid(row(x), torch.arange(batch(x)) * 1.0, indexing="ij"),
        aten.meshgrid([row(x), row(x)]),
    ),
    "parting": lambda x: (
        *each(torch, "chunk split unsafe_chunk unsafe_split tensor_split", itself, number(2), number(1))(x),
        *each(torch, "split split_with_sizes unsafe_split_with_sizes", itself, number([1, 3]), number(1))(x),
        aten.split.sizes(x, [1, 3], 1),
        x.tensor_split((1, 3), 2),
        x.unbind(2)[:2],
        *each(torch, "hsplit dsplit", itself, number(2))(x),
        *each(torch, "hsplit dsplit", itself, number((1,)))(x),
        *each(torch, "vsplit", lambda x: x[0], number(2))(x),
        *each(torch, "vsplit", lambda x: x[0], number((1,)))(x),
    ),
    "windows of images": lambda x: (
        F.unfold(x, 3),
        F.fold(F.unfold(x, 2, stride=2), 6, 2, stride=2),
        aten.constant_pad_nd(x, [1, 1]),
    ),
    "copies": lambda x: (
        x.clone().detach() + x.to("cpu") + aten.alias(x) + aten.to.other(x, x),
        x.double().float() + x.to(torch.int32).type_as(x) + x.long().bool().to(x),
        each(aten, "_to_copy", itself)(x),
        x.to("cpu", torch.float64),
        x.to(memory_format=torch.channels_last, dtype=torch.float64),
    ),
    "repeats": lambda x: (
        x.repeat(1, 1, 2, 1) + x.tile(1, 1, 2, 1),
        x.repeat_interleave(2, dim=1),
        x.repeat_interleave(torch.tensor([1, 2, 1, 1]), 1),
        torch.repeat_interleave(torch.tensor([1, 2])) + 0 * small(x)[0, 0, 0, :3],
    ),
    "places": lambda x: (
        x[:, ::2, 1:-1] + x.select(1, 0)[:, None, 1:-1],
        x.narrow(1, 1, 2) + torch.narrow_copy(x, 1, 1, 2),
        torch.narrow(x, 1, torch.tensor(1), 2),
        x[:, torch.tensor([2, 0])] + x.index_select(1, torch.tensor([1, 1])),
        each(aten, "_unsafe_index", itself, number([None, torch.tensor([2, 0])]))(x),
        x[torch.arange(batch(x)), small(x)[:, 0, 0, 0]],
        x.gather(1, small(x)) + x.take_along_dim(small(x)[0, 0, 0]) + x.take(small(x)),
    ),
    "places that depend on values": lambda x: (
        x[x > 0].sum() + x.masked_select(x > 0).sum(),
        x[:, torch.tensor([True, False, True, False])],
        *each(torch, "nonzero argwhere where", lambda x: x > 0)(x),
        torch.nonzero(x > 0, as_tuple=True),
        torch.nonzero_static(x > 0, size=5),
    ),
    "distinct values": lambda x: (
        small(x).unique(),
        each(aten, "_unique", small)(x),
        torch.unique(small(x), return_inverse=True, return_counts=True),
        torch.unique(small(x), dim=1),
        torch.unique_consecutive(small(x)),
    ),
    "found places": lambda x: (
        torch.searchsorted(torch.tensor([0.0, 1.0]), x),
        torch.searchsorted(torch.tensor([0.0, 1.0]), 0.5),
        torch.bucketize(x, torch.tensor([0.0, 1.0]), right=True),
        torch.bucketize(0.5, torch.tensor([0.0, 1.0])),
        F.one_hot(small(x), 4),
    ),
    "scattering": lambda x: (
        x.scatter(1, small(x)[:, :1], x),
        x.scatter(1, small(x), 2.0),
        x.scatter(1, small(x)[:, :1], x, reduce="add"),
        x.scatter(1, small(x)[:, :1], 2.0, reduce="multiply"),
        x.scatter_add(1, small(x), x),
        x.scatter_reduce(1, small(x), x, "amax"),
        x.masked_scatter(x > 0, x * 2),
        x.put(torch.tensor([0, 3]), torch.tensor([1.0, 2.0])),
    ),
    "writing at places": lambda x: (
        x.index_add(1, torch.tensor([0, 2]), x[:, :2], alpha=2),
        x.index_copy(1, torch.tensor([0, 2]), x[:, :2]),
        x.index_fill(1, torch.tensor([0, 2]), 1.0),
        x.index_fill(1, torch.tensor([0, 2]), torch.tensor(1.0)),
        x.index_reduce(1, torch.tensor([0, 2]), x[:, :2], "prod"),
        x.index_put((torch.tensor([0]),), x[0], accumulate=True),
        each(aten, "_unsafe_index_put", itself, number([torch.tensor([0])]), lambda x: x[0])(x),
        x.slice_scatter(x[:, :2], 1, 1, 3) + x.select_scatter(x[:, 0], 1, 2) + x.diagonal_scatter(x[..., 0], 0, 2, 3),
        torch.as_strided_scatter(x, x[0, 0, 0, :2], (2,), (1,)),
        aten.copy(x, row(x)) + aten.fill(x, 1.0) + aten.fill(x, torch.tensor(1.0)) + aten.zero(x),
        x[0, 0].clone().fill_diagonal_(3.0),
        x[0, 0].clone().fill_diagonal_(3),
    ),
    "new tensors": lambda x: (
        torch.zeros(batch(x), 3),
        torch.ones(batch(x), dtype=torch.int32),
        torch.empty(batch(x), 3).fill_(2.0),
        *each(torch, "full", lambda x: (batch(x), 2), number(True))(x),
        torch.full((batch(x),), batch(x)),
        *each(Tensor, "new_zeros new_ones", whole, lambda x: (batch(x), 2))(x),
        x.new_full((batch(x), 2), 3) + x.new_empty(batch(x), 2).zero_(),
        *each(torch, "zeros_like ones_like", itself)(x),
        torch.empty_like(x).fill_(1.0) + torch.full_like(x, 0.5),
        torch.full_like(x, 3, dtype=torch.int64),
        torch.empty_strided((2, 3), (3, 1)).fill_(1.0) + x.new_empty_strided((2, 3), (3, 1)).fill_(1.0),
        torch.empty_permuted((2, 3), (0, 1)).fill_(1.0),
        torch.tensor([batch(x), 2]) + torch.scalar_tensor(3.0),
    ),
    "ranges": lambda x: (
        x,
        torch.arange(batch(x)),
        torch.arange(1, batch(x) * 2, 2) + aten.arange.start(0, batch(x)),
        torch.arange(batch(x) - 1, -1, -1) * 1.0,
        torch.arange(0, batch(x), 0.5),
        torch.linspace(0, batch(x), 5) + torch.logspace(0, 1, 5, base=2),
        *each(torch, "linspace", number(torch.tensor(0.0)), number(torch.tensor(1.0)), number(5))(x),
        torch.linspace(torch.tensor(0.0), 1.0, 5) + torch.linspace(0.0, torch.tensor(1.0), 5),
        torch.eye(batch(x)),
        torch.eye(3, batch(x)),
        torch.tril_indices(4, 3),
        torch.triu_indices(3, 4, 1),
    ),
    "windows": lambda x: (
        x,
        *each(torch, "hann_window hamming_window blackman_window bartlett_window kaiser_window", number(6))(x),
        *each(
            torch, "hann_window hamming_window blackman_window bartlett_window kaiser_window", number(6), number(False)
        )(x),
        torch.hamming_window(6, False, 0.5),
        torch.hamming_window(6, False, 0.5, 0.4),
        torch.kaiser_window(6, False, 4.0),
        torch.fft.fftfreq(6, 0.5),
        torch.fft.rfftfreq(6),
    ),
    "sizes": lambda x: (
        x.reshape(batch(x) * 2, -1).view(batch(x), 2 * x.shape[1] // 4, -1) / (batch(x) + 1),
        x.flatten(0, 1)[: batch(x) // 2 + 1] * (batch(x) / 2 - 0.5),
        x.flatten(0, 1)[: (batch(x) * 4) % 3 + 1] - x.numel(),
        x.flatten(0, 1)[: max(batch(x), 3)] * batch(x) ** 2,
        x + torch.sym_max(batch(x), 3) - torch.sym_min(batch(x), 4) + torch.sym_ite(batch(x) > 2, 1, 2),
        x * torch.sym_float(batch(x)) + torch.sym_int(batch(x) * 1.5) + -batch(x) + (+batch(x)),
        x * torch.sym_sqrt(batch(x)) + (batch(x) << 1) + (batch(x) >> 1),
        torch.full((1,), torch.sym_not(batch(x) > 2)),
        torch.full((1,), (batch(x) >= 2) & (batch(x) < 5) | (batch(x) == 9) | (batch(x) <= 1)),
        torch.full((1,), batch(x) != 9),
        batch(x) // positive(x) + batch(x) ** x.sigmoid(),
    ),
    "checks": lambda x: (
        x + 1,
        each(aten, "_assert_async", lambda x: x.sum() < 1e9)(x),
        each(aten, "_assert_async", lambda x: x.sum() < 1e9, number("too large"))(x),
        aten.sym_constrain_range_for_size(small(x).max().item(), min=0, max=4),
        aten.sym_constrain_range(small(x).max().item(), min=0, max=4),
    ),
    "numbers out of values": lambda x: (
        x + x.sum().item(),
        x + small(x).max().item() + each(aten, "_local_scalar_dense", lambda x: small(x).min())(x)[0],
        torch.zeros(4) + (x > 0).any().item(),
    ),
}

"""4-bit embeddings that can be saved: torch's own write a tensor that `torch.jit.load` refuses to read (torch 2.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.ao.nn import quantized as nnq

if TYPE_CHECKING:
    from torch.fx import GraphModule


class Embedding4Bit(nn.Module):
    """Rows of 4-bit values, two in a byte, each row with a scale and an offset of half precision behind it.

    Attributes:
        packed: uint8 [rows, width / 2 + 4].
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("packed", torch.ops.quantized.embedding_bag_4bit_prepack(weight))

    def weight(self) -> Tensor:
        """The rows as they are looked up: float32 [rows, width]."""
        rows: Tensor = torch.ops.quantized.embedding_bag_4bit_unpack(self.packed)
        return rows

    def forward(self, indices: Tensor) -> Tensor:
        """The rows at `indices`, of one or two dimensions: a bag of one each."""
        flat = indices.reshape(-1)
        bags = torch.arange(flat.numel(), dtype=flat.dtype, device=flat.device)
        rows: Tensor = torch.ops.quantized.embedding_bag_4bit_rowwise_offsets(self.packed, flat, bags)
        return torch.unflatten(rows, 0, indices.shape)


class EmbeddingBag4Bit(Embedding4Bit):
    """The same, with the rows of each bag summed."""

    def __init__(self, weight: Tensor, *, include_last_offset: bool) -> None:
        super().__init__(weight)
        self.include_last_offset = include_last_offset

    def forward(
        self, indices: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        """The sums over the bags, which begin at `offsets`, or are the rows of `indices`."""
        rows: Tensor = torch.ops.quantized.embedding_bag_4bit_rowwise_offsets(
            self.packed, indices, offsets, False, 0, False, per_sample_weights, None, self.include_last_offset
        )
        return rows


def make_savable(int8: GraphModule) -> None:
    """Puts these in the place of torch's 4-bit look-ups."""
    for path, layer in list(int8.named_modules()):
        if isinstance(layer, nnq.Embedding) and layer.dtype == torch.quint4x2:
            int8.set_submodule(path, _own(layer))


def _own(layer: Any) -> nn.Module:
    weight = layer.weight().dequantize()
    if isinstance(layer, nnq.EmbeddingBag):
        return EmbeddingBag4Bit(weight, include_last_offset=layer.include_last_offset)
    return Embedding4Bit(weight)

"""Kernels of torch's that give wrong results, for which the table leaves layers in float."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.ao.nn import quantized as nnq

from octet.measure import Noise
from octet.quantization import use_engine


def sqnr_of_transposed(engine: str, in_channels: int, out_channels: int, dims: int) -> float:
    """SQNR of torch's int8 transposed convolution against the float one with the same rounded weights."""
    with use_engine(engine), torch.no_grad():
        layer = getattr(nn, f"ConvTranspose{dims}d")(in_channels, out_channels, 3)
        inputs = torch.quantize_per_tensor(torch.randn(2, in_channels, *(5,) * dims), 0.03, 64, torch.quint8)
        weight = torch.quantize_per_tensor(layer.weight, layer.weight.abs().max().item() / 127, 0, torch.qint8)
        layer.weight.copy_(weight.dequantize())
        wanted = layer(inputs.dequantize())
        int8 = getattr(nnq, f"ConvTranspose{dims}d")(in_channels, out_channels, 3)
        int8.set_weight_bias(weight, layer.bias)
        int8.scale, int8.zero_point = wanted.abs().max().item() / 127, 128
        noise = Noise()
        noise.add(wanted, int8(inputs).dequantize())
    return noise.sqnr_db or float("inf")


@pytest.mark.parametrize(
    ("engine", "channels", "dims", "right"),
    [
        ("fbgemm", (4, 6), 2, True),
        ("onednn", (4, 4), 2, True),
        ("onednn", (4, 6), 2, False),
        ("onednn", (6, 4), 1, False),
        ("qnnpack", (4, 6), 2, True),
        ("qnnpack", (4, 4), 3, False),
    ],
)
def test_the_transposed_convolutions_that_the_table_calls_wrong_are(
    engine: str, channels: tuple[int, int], dims: int, right: bool
) -> None:
    torch.manual_seed(0)
    assert (sqnr_of_transposed(engine, *channels, dims) > 25) is right


def test_the_int8_prelu_scales_what_is_positive() -> None:
    prelu = nnq.PReLU(0.04, 128)
    prelu.set_weight(torch.quantize_per_tensor(torch.tensor([0.25]), 0.25 / 200, 0, torch.quint8))
    positive = torch.quantize_per_tensor(torch.full((1, 8), 2.0), 0.04, 128, torch.quint8)
    assert (prelu(positive).dequantize() < 1.0).all()

"""Kernels of torch's that give wrong results, for which the table leaves layers in float."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from quantizing import quantized, recipe_of, sqnr_of
from torch import nn
from torch.ao.nn import quantized as nnq

from octet.measure import Noise
from octet.quantization import use_engine

if TYPE_CHECKING:
    from collections.abc import Callable


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


class Clamped(nn.Module):
    """A convolution whose channels differ, clamped in one of three ways."""

    def __init__(self, clamp: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.clamp, self.second = nn.Conv2d(3, 8, 3), clamp, nn.Conv2d(8, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.clamp(self.first(x)))


def _between(x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(x, -0.5, 0.5)


@pytest.mark.parametrize("clamp", [nn.ReLU6(), nn.Hardtanh(-0.5, 0.5), _between], ids=["ReLU6", "Hardtanh", "clamp"])
@pytest.mark.parametrize("method", ["static", "qat"])
def test_a_clamp_behind_a_convolution_of_qnnpack_keeps_values_in_their_places(
    method: str, clamp: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    torch.manual_seed(0)
    model, inputs, recipe = Clamped(clamp).eval(), torch.randn(16, 3, 8, 8), recipe_of(method, "qnnpack")
    assert sqnr_of(model, quantized(model, recipe, inputs), recipe, inputs) > 25

"""Channels of wildly uneven ranges: what post-training quantization breaks on, with one range for a tensor.

After training, each channel between an expansion, a depthwise filter and a projection is multiplied by a factor of its
own, and what reads it is divided by the same: the model computes what it did, since relu(s x) = s relu(x) for s > 0.
Cross-layer equalization takes such factors out again. Source: Nagel et al., Data-Free Quantization Through Weight
Equalization and Bias Correction, arXiv:1906.04721, section 4.1, the other way round.
"""

import torch
from torch import Generator, Tensor, nn

from trained.mobilenet import InvertedResidual, MobileNetV2

OCTAVES = 12
"""From the least factor to the greatest."""


def uneven_mobilenet(classes: int) -> MobileNetV2:
    """MobileNetV2 with ReLU, as the paper on equalization uses it; even as yet."""
    return MobileNetV2(classes, nn.ReLU)


def make_uneven(model: nn.Module) -> None:
    """Spreads the channels of every inverted residual, without changing what the model computes."""
    generator = Generator().manual_seed(40)
    with torch.no_grad():
        for block in model.modules():
            if isinstance(block, InvertedResidual):
                _spread(block.expand[1], block.depthwise[0].weight, 0, generator)
                _spread(block.depthwise[1], block.project[0].weight, 1, generator)


def _spread(norm: nn.BatchNorm2d, reader: Tensor, channels: int, generator: Generator) -> None:
    """Multiplies what `norm` gives, and divides the weight that reads it along its axis `channels`."""
    factors = 2 ** (OCTAVES * (torch.rand(norm.num_features, generator=generator) - 0.5))
    norm.weight.mul_(factors)
    norm.bias.mul_(factors)
    reader.div_(factors.view([-1 if axis == channels else 1 for axis in range(reader.ndim)]))

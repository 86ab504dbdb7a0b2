"""Models that eight bits break, though their float outputs are those of a model that eight bits suit."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from quantizing import quantized
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from octet.quantization import Quantized, use_engine

if TYPE_CHECKING:
    from octet.recipe import Recipe


class Digits(NamedTuple):
    """8x8 images of handwritten digits in 0 to 1, and what they show."""

    images: Tensor
    labels: Tensor
    held_back: Tensor
    held_back_labels: Tensor


@cache
def digits() -> Digits:
    """The digits that come with scikit-learn, 600 of them held back."""
    found = load_digits()
    images, labels = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16, torch.tensor(found.target)
    return Digits(images[:-600], labels[:-600], images[-600:], labels[-600:])


def accuracy(model: nn.Module) -> float:
    """Share of the digits held back that `model` gets right."""
    with torch.no_grad():
        return (model(digits().held_back).argmax(1) == digits().held_back_labels).float().mean().item()


def int8_accuracy(model: nn.Module, recipe: Recipe) -> tuple[float, Quantized]:
    """The same of `model` after `recipe`, calibrated on other digits, with what came of it."""
    result = quantized(model, recipe, digits().images[:128])
    with use_engine(recipe.engine):
        return accuracy(result.scripted), result


def trained(model: nn.Module, epochs: int) -> nn.Module:
    """`model` trained to tell digits."""
    torch.manual_seed(0)
    images, labels, *_ = digits()
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-2)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval()


@cache
def uneven_separable() -> nn.Module:
    """Depthwise-separable convolutions whose channels have ranges from 0.01 to 100 times what they were trained to.

    ReLU lets a positive scale through, so what the norm multiplies a channel by, the next layer divides it by: the
    outputs are those of the model that was trained.
    """
    torch.manual_seed(0)
    model = trained(
        nn.Sequential(
            *_unit(nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False)),
            *_unit(nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)),
            *_unit(nn.Conv2d(16, 32, 1, bias=False)),
            *_unit(nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False)),
            *_unit(nn.Conv2d(32, 32, 1, bias=False)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 10),
        ),
        epochs=6,
    )
    layers = [place for place, layer in enumerate(model) if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for one, other in pairwise(layers):
            norm, reader = model[one + 1], model[other]
            scale = 10 ** (4 * torch.rand(norm.num_features) - 2)
            norm.weight *= scale
            norm.bias *= scale
            reader.weight /= scale.view(-1, 1, 1, 1) if reader.groups > 1 else scale.view(1, -1, 1, 1)
    return model


def _unit(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]


@cache
def perceptron_with_outliers() -> nn.Module:
    """A perceptron with huge weights for pixels that are blank in every image: they were never trained."""
    torch.manual_seed(0)
    model = trained(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), epochs=6)
    blank = digits().images.flatten(1).amax(0) == 0
    with torch.no_grad():
        model[1].weight[:, blank] = 500.0
    return model


@cache
def perceptron_with_biased_rounding() -> nn.Module:
    """A perceptron in which rounding shifts what a layer gives by more than that varies.

    Its hidden values are large and alike, so errors of the weights that read them add up. A hidden value that is
    always 0 has the largest weight of each row, which fixes the step; of all others, the part beyond whole steps is
    made 0.45 or -0.45, the same for all of a row, and the bias makes up for it.
    """
    torch.manual_seed(0)
    first, second = nn.Linear(64, 256), nn.Linear(256, 10)
    nn.init.constant_(first.bias, 3.0)
    model = trained(nn.Sequential(nn.Flatten(), first, nn.ReLU(), second), epochs=6)
    with torch.no_grad():
        first.weight[0], first.bias[0] = 0.0, -1.0
        hidden = model[:3](digits().images).mean(0)
        before = second.weight @ hidden
        peaks = 20 * second.weight.abs().amax(1, keepdim=True)
        step = 2 * peaks / 255
        beyond = torch.tensor([0.45, -0.45]).repeat(5)[:, None]
        second.weight.copy_(((second.weight / step).round() + beyond) * step)
        second.weight[:, :1] = peaks
        second.bias += before - second.weight @ hidden
    return model


class Rare(nn.Module):
    """A layer that only samples with a large first value reach."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.rare, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, chosen = torch.relu(self.stem(x)), torch.nonzero(x[:, 0] > 50).squeeze(1)
        return self.head(y.index_add(0, chosen, self.rare(y.index_select(0, chosen))))

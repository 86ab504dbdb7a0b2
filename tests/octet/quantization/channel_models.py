"""One small model for each way in which channels get from layer to layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable


class Calls(nn.Module):
    """Layers by name, and what calls them."""

    def __init__(self, call: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._call = call

    def forward(self, x: Tensor) -> Tensor:
        """Gives what the calls give."""
        return self._call(self, x)


def conv(inputs: int, outputs: int, kernel: int = 3, groups: int = 1, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of images, but for its stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)


def _residual(m: Calls, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.d(torch.relu(y + m.c(torch.relu(m.b(y)))))


def _dense(m: Calls, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.c(torch.cat([y, torch.relu(m.b(y))], dim=1))


def _branching(m: Calls, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.b(y) + m.c(y)


def _read_by_another(m: Calls, x: Tensor) -> Tensor:
    y = torch.relu(m.a(x))
    return m.b(y).mean() + torch.sigmoid(y).mean()


def _shuffled(m: Calls, x: Tensor) -> Tensor:
    one, two = m.a(x).chunk(2, dim=1)
    y = torch.cat([one, torch.relu(m.b(two))], dim=1)
    y = y.view(y.size(0), 2, 4, 8, 8).transpose(1, 2).contiguous().view(y.size(0), 8, 8, 8)
    return m.c(y)


def _gated(m: Calls, x: Tensor) -> Tensor:
    y = torch.relu(m.a(x))
    gate = torch.sigmoid(m.b(functional.adaptive_avg_pool2d(y, 1)))
    return m.c(gate * y)


def _twice(m: Calls, x: Tensor) -> Tensor:
    y = torch.relu(m.a(x))
    return m.c(torch.relu(m.b(torch.relu(m.b(y)))))


IMAGE, LINE, VOLUME = (3, 8, 8), (3, 16), (3, 4, 4, 4)

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[str, ...]]] = {
    "pair": (lambda: nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4)), IMAGE, ("0", "2")),
    "depthwise triple": (
        lambda: nn.Sequential(
            conv(3, 8), nn.BatchNorm2d(8), nn.LeakyReLU(), conv(8, 8, groups=8), nn.ReLU(), conv(8, 4, 1)
        ),
        IMAGE,
        ("0", "3", "5"),
    ),
    "groups": (
        lambda: nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 12, groups=4), conv(12, 4)),
        IMAGE,
        ("0", "2", "3"),
    ),
    "1-D": (
        lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.PReLU(8), nn.MaxPool1d(2), nn.Conv1d(8, 4, 3)), LINE, ("0", "3"),
    ),
    "3-D": (lambda: nn.Sequential(nn.Conv3d(3, 8, 3), nn.AvgPool3d(2), nn.Conv3d(8, 4, 1)), VOLUME, ("0", "2")),
    "transposed": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 8, 3, groups=1), nn.ReLU(), nn.ConvTranspose2d(8, 12, 2, groups=4), conv(12, 2)
        ),
        IMAGE,
        ("0", "2", "3"),
    ),
    "flattened": (
        lambda: nn.Sequential(
            conv(3, 8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(128, 6), nn.Linear(6, 5)
        ),
        IMAGE,
        ("0", "5", "6"),
    ),
    "averaged": (
        lambda: Calls(lambda m, x: m.b(torch.relu(m.a(x)).mean([2, 3])), a=conv(3, 8), b=nn.Linear(8, 5)),
        IMAGE,
        ("a", "b"),
    ),
    "padded and resized": (
        lambda: nn.Sequential(
            conv(3, 8), nn.ReflectionPad2d(1), nn.Upsample(scale_factor=2, mode="bilinear"), conv(8, 2)
        ),
        IMAGE,
        ("0", "3"),
    ),
    "pixel shuffle": (lambda: nn.Sequential(conv(3, 8), nn.PixelShuffle(2), nn.ReLU(), conv(2, 4)), IMAGE, ("0", "3")),
    "residual": (
        lambda: Calls(_residual, a=conv(3, 8), b=conv(8, 8), c=conv(8, 8), d=conv(8, 2)),
        IMAGE,
        ("a", "b", "c", "d"),
    ),
    "dense": (
        lambda: Calls(_dense, a=conv(3, 4), b=conv(4, 4), c=conv(8, 2)),
        IMAGE,
        ("a", "b", "c"),
    ),
    "channel shuffle": (lambda: Calls(_shuffled, a=conv(3, 8), b=conv(4, 4), c=conv(8, 2)), IMAGE, ("a", "b", "c")),
    "gate": (lambda: Calls(_gated, a=conv(3, 8), b=conv(8, 8, 1), c=conv(8, 2)), IMAGE, ("a", "b", "c")),
    "called twice": (
        lambda: Calls(_twice, a=conv(3, 8), b=conv(8, 8), c=conv(8, 2)),
        IMAGE,
        ("a", "b", "b_call_2", "c"),
    ),
    "two readers": (
        lambda: Calls(_branching, a=conv(3, 8), b=conv(8, 4), c=conv(8, 4)),
        IMAGE,
        ("a", "b", "c"),
    ),
    "sequence": (
        lambda: Calls(
            lambda m, x: m.b(torch.relu(m.a(x.transpose(1, 2)))).transpose(1, 2), a=nn.Linear(3, 8), b=nn.Linear(8, 4)
        ),
        LINE,
        ("a", "b"),
    ),
}  # fmt: skip
"""Name -> the model, the shape of one sample, and the paths of the layers that are scaled."""

UNSCALABLE: dict[str, Callable[[], nn.Module]] = {
    "an output": lambda: nn.Sequential(conv(3, 8), nn.ReLU()),
    "another reader": lambda: Calls(_read_by_another, a=conv(3, 8), b=conv(8, 4)),
    "a curve": lambda: nn.Sequential(conv(3, 8), nn.SiLU(), conv(8, 4)),
    "a constant": lambda: Calls(lambda m, x: m.b(m.a(x) + 1.0), a=conv(3, 8), b=conv(8, 4)),
    "a padding of ones": lambda: Calls(
        lambda m, x: m.b(functional.pad(m.a(x), (1, 1), value=1.0)), a=conv(3, 8), b=conv(8, 4)
    ),
    "a norm": lambda: nn.Sequential(conv(3, 8), nn.GroupNorm(2, 8), conv(8, 4)),
    "a product": lambda: Calls(lambda m, x: m.b(m.a(x) * m.a(x)), a=conv(3, 8), b=conv(8, 4)),
}
"""What keeps channels from being scaled -> a model of images that has it, and nothing else."""


def uneven(model: nn.Module) -> nn.Module:
    """`model` in eval mode, with rows of weights from 0.03 to 30 times as large, and norms with statistics."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.3, 0.3, generator=generator)
                module.running_var.uniform_(0.3, 2.0, generator=generator)
            elif getattr(module, "weight", None) is not None and module.weight.dim() > 1:
                scales = 10 ** (3 * torch.rand(len(module.weight), generator=generator) - 1.5)
                module.weight *= scales.view(-1, *[1] * (module.weight.dim() - 1))
    return model.eval()

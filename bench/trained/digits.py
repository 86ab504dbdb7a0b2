"""Handwritten digits: the 1797 images of 8 x 8 pixels that scikit-learn ships, made larger and varied.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998. A third of the images is held back
before anything is varied, so that no image is in both parts.
"""

from __future__ import annotations

from functools import cache
from math import pi

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Generator, Tensor
from torch.nn import functional

from trained.task import Samples, Task

SIZE = 24
CLASSES = 10
COPIES = {"training": 8, "held_back": 6}
ANGLE, SHIFT, SCALE, NOISE = 12 * pi / 180, 0.08, 0.10, 0.20


@cache
def sources() -> dict[str, tuple[Tensor, Tensor]]:
    """Images [n, 1, 8, 8] between 0 and 1 with their labels, in two parts."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images, labels, test_size=1 / 3, stratify=labels, random_state=0)
    pixels = [torch.tensor(part, dtype=torch.float32).view(-1, 1, 8, 8) / 16 for part in parts[:2]]
    classes = [torch.tensor(part, dtype=torch.int64) for part in parts[2:]]
    return {"training": (pixels[0], classes[0]), "held_back": (pixels[1], classes[1])}


def placed(images: Tensor, maps: Tensor, size: int = SIZE) -> Tensor:
    """`images` [n, 1, h, w] as [n, 1, size, size] under affine maps [n, 2, 3]."""
    grid = functional.affine_grid(maps, [len(images), 1, size, size], align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


@cache
def digits() -> Task:
    """Images [n, 1, 24, 24] of zero mean, turned, moved, scaled, and under noise; which digit is it?"""
    return Task(**{part: _varied(part, seed) for seed, part in enumerate(COPIES)})


def _varied(part: str, seed: int) -> Samples:
    generator = Generator().manual_seed(seed)
    images, labels = (tensor.repeat_interleave(COPIES[part], 0) for tensor in sources()[part])
    count = len(images)

    def around_zero(most: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * 2 - 1) * most

    angle, scale = around_zero(ANGLE), 1 + around_zero(SCALE)
    rows = torch.stack([scale * angle.cos(), -scale * angle.sin(), scale * angle.sin(), scale * angle.cos()], 1)
    maps = torch.cat([rows.view(-1, 2, 2), around_zero(SHIFT, 2, 1)], 2)
    pixels = placed(images, maps) + NOISE * torch.randn(count, 1, SIZE, SIZE, generator=generator)
    order = torch.randperm(count, generator=generator)
    return Samples((pixels[order] - 0.3) / 0.4, labels[order])

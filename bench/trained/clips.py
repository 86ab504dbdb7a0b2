"""Clips of a handwritten digit that moves: which way does it go?"""

from __future__ import annotations

from functools import cache
from math import pi

import torch
from torch import Generator

from trained.digits import placed, sources
from trained.task import Samples, Task

FRAMES, SIZE = 8, 20
CLASSES = 8
COUNTS = {"training": 4000, "held_back": 2400}
NOISE = 0.25


@cache
def clips() -> Task:
    """Clips [n, 1, 8, 20, 20]; the class is one of eight directions. Digits of one part are not in the other."""
    return Task(**{part: _moving(part, 10 + seed) for seed, part in enumerate(COUNTS)})


def _moving(part: str, seed: int) -> Samples:
    generator = Generator().manual_seed(seed)
    count = COUNTS[part]
    images = sources()[part][0]
    images = images[torch.randint(len(images), (count,), generator=generator)]
    labels = torch.randint(CLASSES, (count,), generator=generator)
    # A little off the eight directions, at a speed of its own, through a point near the middle.
    angle = 2 * pi * (labels + 0.6 * (torch.rand(count, generator=generator) - 0.5)) / CLASSES
    speed = 0.06 + 0.10 * torch.rand(count, generator=generator)
    middle = (torch.rand(count, 2, generator=generator) - 0.5) * 0.6
    direction = torch.stack([angle.cos(), angle.sin()], 1) * speed[:, None]
    zoom = torch.eye(2).expand(count, 2, 2) * 1.8
    frames = []
    for frame in range(FRAMES):
        shift = middle - direction * (frame - (FRAMES - 1) / 2)
        frames.append(placed(images, torch.cat([zoom, shift[:, :, None]], 2), SIZE))
    pixels = torch.stack(frames, 2)
    return Samples((pixels + NOISE * torch.randn(pixels.shape, generator=generator) - 0.15) / 0.4, labels)

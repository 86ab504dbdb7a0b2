"""Synthetic sounds: tones that rise, fall, beat, warble or pulse. Which of ten kinds is it?"""

from __future__ import annotations

from functools import cache
from math import pi

import torch
from torch import Generator, Tensor

from trained.task import Samples, Task

LENGTH = 1024
KINDS = 10
COUNTS = {"training": 6000, "held_back": 3000}
MOST_NOISE = 0.9


@cache
def sounds() -> Task:
    """Waves [n, 1, 1024] of random pitch, phase, loudness and noise."""
    return Task(**{part: _waves(count, 20 + seed) for seed, (part, count) in enumerate(COUNTS.items())})


def _waves(count: int, seed: int) -> Samples:
    generator = Generator().manual_seed(seed)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=generator)

    labels = torch.randint(KINDS, (count,), generator=generator)
    time = torch.linspace(0, 1, LENGTH).expand(count, LENGTH)
    pitch, phase = between(40, 90), between(0, 2 * pi)
    slow, fast = between(2.5, 4), between(6, 9)
    sweep, depth = between(0.25, 0.5), between(0.5, 0.9)

    def tone(cycles: Tensor) -> Tensor:
        return (2 * pi * cycles + phase).sin()

    def pulses(rate: Tensor) -> Tensor:
        return ((rate * time + phase) % 1 < 0.4).float()

    steady = tone(pitch * time)
    kinds = (
        steady,
        tone(pitch * (time + sweep * (time**2 - time))),
        tone(pitch * (time - sweep * (time**2 - time))),
        steady * (1 + depth * (2 * pi * slow * time).sin()),
        steady * (1 + depth * (2 * pi * fast * time).sin()),
        tone(pitch * time + sweep * 4 * (2 * pi * slow * time).sin() / slow),
        tone(pitch * time + sweep * 8 * (2 * pi * fast * time).sin() / fast),
        steady * pulses(slow),
        steady * pulses(fast),
        (steady + tone(1.5 * pitch * time)) / 2,
    )
    wave = torch.stack(kinds)[labels, torch.arange(count)]
    noise = between(0, MOST_NOISE) * torch.randn(count, LENGTH, generator=generator)
    return Samples((between(0.5, 1.5) * wave + noise).unsqueeze(1), labels)

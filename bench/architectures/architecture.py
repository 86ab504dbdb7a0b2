"""What one row of `bench/coverage.py` is: how to build a model, and what it is called with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[[int, Generator], Tensor]
    """A batch of that many samples."""


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        name: Its row.
        group: Its section of the table.
        make: Builds the model, with random weights.
        inputs: The arguments of its forward, by name.
    """

    name: str
    group: str
    make: Callable[[], nn.Module]
    inputs: dict[str, Maker]

    def build(self) -> nn.Module:
        """The model in eval mode, the same weights every time.

        Where there are batch norms, convolutions are initialised after He, norms to weight 1, and statistics are taken
        from data: else the activations of a deep net vanish or grow from block to block, and an SQNR would say nothing.
        """
        torch.manual_seed(0)
        model = self.make().eval()
        norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
        for part in model.modules() if norms else ():
            if isinstance(part, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        for norm in norms:
            norm.reset_parameters()
            norm.momentum = None  # a plain average over the batches below
            norm.train()
        with torch.no_grad():
            for seed in range(2) if norms else ():
                model(**self.batch(8, seed=100 + seed))
        return model.eval()

    def batch(self, size: int, seed: int) -> dict[str, Tensor]:
        """`size` samples, by argument."""
        generator = Generator().manual_seed(seed)
        return {name: make(size, generator) for name, make in self.inputs.items()}


def image(size: int, channels: int = 3) -> Maker:
    """[batch, channels, size, size]: smooth noise, closer to a photograph's spectrum than white noise."""

    def make(batch: int, generator: Generator) -> Tensor:
        coarse = torch.randn(batch, channels, size // 8, size // 8, generator=generator)
        fine = torch.randn(batch, channels, size, size, generator=generator)
        return nn.functional.interpolate(coarse, size=size, mode="bilinear") + 0.3 * fine

    return make


def normal(*shape: int) -> Maker:
    """[batch, *shape] of normal noise."""
    return lambda batch, generator: torch.randn(batch, *shape, generator=generator)


def tokens(length: int, vocabulary: int = 96) -> Maker:
    """[batch, length] of int64 ids; the first few, which are special in most vocabularies, do not occur."""
    return lambda batch, generator: torch.randint(5, vocabulary, (batch, length), generator=generator)


def mask(length: int) -> Maker:
    """[batch, length] of int64: 1 for the first tokens, at least half of them, and 0 for padding."""

    def make(batch: int, generator: Generator) -> Tensor:
        lengths = torch.randint(length // 2, length + 1, (batch, 1), generator=generator)
        return (torch.arange(length) < lengths).to(torch.int64)

    return make


MAKERS = {"image": image, "normal": normal, "tokens": tokens, "mask": mask}
"""By the names of `transformers.yaml`."""

"""Sentences of eight made-up languages, each with a rule of its own for which word follows which."""

from __future__ import annotations

from functools import cache

import torch
from torch import Generator, Tensor

from trained.task import Samples, Task

WORDS, LENGTH = 40, 24
LANGUAGES = 8
COUNTS = {"training": 8000, "held_back": 3000}
OWN = 0.8
"""How much of a rule is a language's own; the rest they share."""


@cache
def sentences() -> Task:
    """Word ids [n, 24], int64, of Markov chains; the class is the chain."""
    generator = Generator().manual_seed(30)
    shared, own = (_chain(generator, many) for many in (1, LANGUAGES))
    chains = (1 - OWN) * shared + OWN * own
    return Task(**{part: _spoken(chains, count, generator) for part, count in COUNTS.items()})


def _chain(generator: Generator, many: int) -> Tensor:
    """[many, WORDS, WORDS]: after each word, some words are likely and others are not."""
    return torch.softmax(2.0 * torch.randn(many, WORDS, WORDS, generator=generator), 2)


def _spoken(chains: Tensor, count: int, generator: Generator) -> Samples:
    labels = torch.randint(LANGUAGES, (count,), generator=generator)
    words = [torch.randint(WORDS, (count,), generator=generator)]
    while len(words) < LENGTH:
        words.append(torch.multinomial(chains[labels, words[-1]], 1, generator=generator)[:, 0])
    return Samples(torch.stack(words, 1), labels)

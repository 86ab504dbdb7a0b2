"""Where training runs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from octet.errors import QuantizationFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octet.recipe import Training


def device_of(training: Training) -> str:
    """`cpu` or `cuda`.

    Raises:
        QuantizationFailedError: If the recipe asks for CUDA, and there is none.
    """
    if training.device == "cuda" and not torch.cuda.is_available():
        raise QuantizationFailedError(
            "The recipe asks to train on CUDA, and this machine has none.", hint="Set training.device to auto or cpu."
        )
    return "cuda" if training.device != "cpu" and torch.cuda.is_available() else "cpu"


@contextmanager
def repeatable(device: str) -> Iterator[None]:
    """Runs the block on random numbers of its own and, on CUDA, with kernels that give the same at every run."""
    if device == "cpu":
        with torch.random.fork_rng(devices=[]):
            yield
        return
    # cuBLAS reads it when it is first used: without it, its sums depend on which stream is free.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    # Where there is no such kernel, training goes on with the one there is, and torch warns.
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()]):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])

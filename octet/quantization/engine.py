"""The engine: the process-wide switch, set for a while and put back, and what it asks of activations."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from octet import notices
from octet.engines import CPUS, ENGINES, Engine
from octet.errors import QuantizationFailedError
from octet.measure import cpu_features

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octet.recipe import Recipe


@contextmanager
def use_engine(name: str) -> Iterator[Engine]:
    """Makes `name` the engine of this process while the block runs.

    `torch.backends.quantized.engine` decides which library packs weights and runs int8 kernels; it is global. All
    work on int8 models happens inside such a block, so torch's notices about it are kept back here too.

    Raises:
        QuantizationFailedError: If this build of torch has no such engine.
    """
    supported = torch.backends.quantized.supported_engines
    if name not in supported:
        raise QuantizationFailedError(
            f"This build of torch has no engine {name!r}.", hint=f"It has: {', '.join(supported)}."
        )
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        with notices.kept_back():
            yield ENGINES[name]
    finally:
        torch.backends.quantized.engine = before


def reduces_range(recipe: Recipe) -> bool:
    """Whether activations use 7 bits under `recipe`."""
    wanted = recipe.activations.reduce_range
    if wanted != "auto":
        return wanted
    features = cpu_features() if recipe.deploy_cpu == "this" else CPUS[recipe.deploy_cpu]
    return ENGINES[recipe.engine].reduces_range(features)

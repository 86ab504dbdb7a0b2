"""The process-wide engine switch, set for a while and put back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from octet import notices
from octet.engines import ENGINES, Engine
from octet.errors import QuantizationFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator


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

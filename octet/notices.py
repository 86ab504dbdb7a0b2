"""Notices of torch's that no caller of Octet can act on."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOTICES: tuple[tuple[str, type[Warning]], ...] = (
    # Deprecations. Octet stands on these parts of torch and pins it for that reason (docs/design.md).
    (r"torch\.ao\.quantization is deprecated", DeprecationWarning),
    (r"`torch\.jit", DeprecationWarning),
    (r"torch\.quantize_per_tensor, torch\.quantize_per_channel and other quantized", UserWarning),
    # What torch.ao's own modules do; it has no effect on the result.
    (r"The TorchScript type system doesn't support instance-level annotations", UserWarning),
    (r"To copy construct from a tensor, it is recommended to use sourceTensor", UserWarning),
    # True of qnnpack, and what the engine table says of it.
    (r"Currently, qnnpack incorrectly ignores reduce_range", UserWarning),
    # True, and the float kernel that it takes instead is as good.
    (r"LSTM with projections is not supported with oneDNN", UserWarning),
    # The int8 addition of a smaller tensor and a larger one; the sum is right.
    (r"An output with one or more elements was resized", UserWarning),
    # FX graph mode leaves an operation in float; the report says so for each layer.
    (r".*QConfig", UserWarning),
)


@contextmanager
def kept_back() -> Iterator[None]:
    """Runs the block without them. Every other warning passes."""
    with warnings.catch_warnings():
        for message, category in _NOTICES:
            warnings.filterwarnings("ignore", message, category)
        yield

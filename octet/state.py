"""The state of a module: the buffers that it changes as it runs, such as a counter or a cache.

Octet runs a model many times before it is saved. Each measurement, and the saved model, start from the file's state.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE = "_state_"
"""How the names of such buffers start."""


@contextmanager
def kept(*modules: torch.nn.Module) -> Iterator[None]:
    """Runs the block, then gives each of `modules` back the state it had."""
    before = [{name: buffer.clone() for name, buffer in _state(module).items()} for module in modules]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, values in zip(modules, before, strict=True):
                for name, buffer in _state(module).items():
                    buffer.copy_(values[name])


def has_state(module: torch.nn.Module) -> bool:
    """Whether `module` changes as it runs."""
    return bool(_state(module))


def _state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer for name, buffer in module.named_buffers() if name.startswith(STATE)}

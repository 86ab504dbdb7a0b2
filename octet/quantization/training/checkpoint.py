"""What a training needs to go on where it was interrupted: one file, of tensors and JSON, replaced after each epoch.

There are no random numbers in it: each epoch draws its own, from the seed and its number.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from octet.report import Epoch
from octet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn
    from torch.fx import GraphModule
    from torch.optim import Optimizer

State = dict[str, "Tensor"]

_FORMAT = 1
_EPOCHS: TypeAdapter[tuple[Epoch, ...]] = TypeAdapter(tuple[Epoch, ...])


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its progress.

    Attributes:
        path: The file; it appears after the first epoch.
        job: What tells this training from any other: the model, the recipe and the data.
        on_saved: Called each time the file is complete.
    """

    path: Path
    job: str
    on_saved: Callable[[], None]

    def fingerprint(self, observed: GraphModule) -> str:
        """What a file must bear to be gone on from: nothing that the result depends on may have changed."""
        facts = (_FORMAT, __version__, torch.__version__, self.job, observed.code)
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@dataclass(frozen=True)
class Progress:
    """A training after an epoch.

    Attributes:
        epochs: Those that are over; of them, the best is marked.
        model: Weights and ranges now.
        best: Weights and ranges after the best epoch.
        optimizer: What the optimizer remembers, by the position of the weight and the name torch gives it.
    """

    epochs: tuple[Epoch, ...]
    model: State
    best: State
    optimizer: State


def state_of(module: nn.Module) -> State:
    """A copy of all weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in _tensors(module).items()}


def restore(module: nn.Module, state: State) -> None:
    """Gives `module` the weights and buffers that it had. Observers' buffers may have changed their shape since."""
    with torch.no_grad():
        for name, tensor in _tensors(module).items():
            tensor.data.resize_(state[name].shape).copy_(state[name])


def memory_of(optimizer: Optimizer) -> State:
    """What the optimizer remembers of each weight."""
    states = optimizer.state_dict()["state"]
    return {f"{place}.{name}": value for place, state in states.items() for name, value in state.items()}


def remember(optimizer: Optimizer, memory: State) -> None:
    """Gives the optimizer back what it remembered."""
    states: dict[int, State] = {}
    for key, value in memory.items():
        place, name = key.split(".", 1)
        states.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def save(checkpoint: Checkpoint, fingerprint: str, progress: Progress) -> None:
    """Replaces the file: it is the old one or the new one, whenever one looks.

    Raises:
        OSError, SafetensorError: If it cannot be written.
    """
    parts = {"model": progress.model, "best": progress.best, "optimizer": progress.optimizer}
    # Copied: safetensors takes no two tensors that share their memory.
    tensors = {
        f"{part}/{name}": tensor.cpu().clone(memory_format=torch.contiguous_format)
        for part, state in parts.items()
        for name, tensor in state.items()
    }
    epochs = _EPOCHS.dump_json(progress.epochs).decode()
    checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
    new = checkpoint.path.with_name(f"{checkpoint.path.name}.new")
    try:
        save_file(tensors, new, {"fingerprint": fingerprint, "epochs": epochs})
        new.replace(checkpoint.path)
    finally:
        new.unlink(missing_ok=True)


def load(checkpoint: Checkpoint, fingerprint: str) -> Progress | None:
    """What the file holds; None: it is damaged, or of another training."""
    try:
        with safe_open(checkpoint.path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("fingerprint") != fingerprint:
                return None
            parts: dict[str, State] = {"model": {}, "best": {}, "optimizer": {}}
            for key in file.keys():  # noqa: SIM118 - it is no dict
                part, name = key.split("/", 1)
                parts[part][name] = file.get_tensor(key)
        return Progress(_EPOCHS.validate_json(metadata["epochs"]), **parts)
    except (OSError, SafetensorError, KeyError, ValueError):  # of bytes, of their frame, or of what stands in them
        return None


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(chain(module.named_parameters(), module.named_buffers()))

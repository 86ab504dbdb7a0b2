"""What a model is trained for: samples with labels, in two parts that share no source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import octet

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Inputs [n, …], float32 or int64, and labels [n], int64."""

    inputs: Tensor
    labels: Tensor

    def dataset(self) -> octet.Dataset:
        """As Octet takes it."""
        return octet.Dataset({"input_0": self.inputs.numpy(), "label": self.labels.numpy()})


@dataclass(frozen=True)
class Task:
    """What to learn from, and what is held back to see whether that worked."""

    training: Samples
    held_back: Samples

"""Data as models take it: batches of tensors, from a dataset or made up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from octet.data.dataset import Dataset
    from octet.spec import ProgramSpec, TensorSpec

FREE_SIZE = 32
"""What made-up inputs use for a size that may vary, other than the batch."""
DIGESTED_AT_ONCE = 64
"""Samples: arrays may be mapped files that memory could not hold."""


@dataclass(frozen=True)
class Batch:
    """Some samples, ready to be run.

    Attributes:
        inputs: One tensor per model input, first dimension the batch.
        targets: Labels or values of the same first dimension, if there are any.
        count: How many of them are real: a model exported with a fixed batch gets its last batch filled up.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor | None
    count: int

    def to(self, device: str) -> Batch:
        """The same on `device`."""
        targets = None if self.targets is None else self.targets.to(device)
        return Batch(tuple(tensor.to(device) for tensor in self.inputs), targets, self.count)


@dataclass(frozen=True)
class Samples:
    """Model inputs with what they should give.

    Attributes:
        arrays: One array per model input, in the model's order, all of one first dimension.
        targets: int64 class labels or float values for them; None: unknown.
        rows: Which of them are meant. Arrays may be mapped files, so nothing is copied before a batch is made.
        source: Whether they are real.
        fixed_batch: The only batch size the model takes, where it was exported with one.
    """

    arrays: tuple[np.ndarray, ...]
    targets: np.ndarray | None
    rows: np.ndarray
    source: Literal["dataset", "synthetic"]
    fixed_batch: int | None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sample_bytes(self) -> int:
        """Size of one sample's inputs."""
        return sum(array[:1].nbytes for array in self.arrays)

    def digest(self) -> str:
        """A sha-256 of every value, in order: equal for equal samples."""
        digest = hashlib.sha256()
        for array in (*self.arrays, *(() if self.targets is None else (self.targets,))):
            digest.update(f"{array.dtype}{array.shape[1:]}".encode())
            for rows in np.array_split(self.rows, len(self.rows) // DIGESTED_AT_ONCE + 1):
                digest.update(np.ascontiguousarray(array[rows]).data)
        return digest.hexdigest()

    def take(self, indices: np.ndarray | slice) -> Samples:
        """Only the samples at `indices`."""
        return replace(self, rows=self.rows[indices])

    def batch(self, indices: np.ndarray) -> Batch:
        """The samples at `indices`, repeated from the start if the model's fixed batch is larger."""
        count = len(indices)
        rows = self.rows[np.resize(indices, self.fixed_batch) if self.fixed_batch else indices]
        inputs = tuple(torch.from_numpy(array[rows]) for array in self.arrays)
        targets = None if self.targets is None else torch.from_numpy(self.targets[rows])
        return Batch(inputs, targets, count)

    def batches(self, size: int, order: np.ndarray | None = None) -> Iterator[Batch]:
        """All samples in batches of `size`, or of the model's fixed batch; `order` shuffles."""
        size = self.fixed_batch or size
        order = np.arange(len(self)) if order is None else order
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size])

    def tiled(self, size: int) -> tuple[Tensor, ...]:
        """One batch of exactly `size` samples, repeated from the start where there are fewer."""
        return self.batch(np.resize(np.arange(len(self)), size)).inputs


def fixed_batch(spec: ProgramSpec) -> int | None:
    """The batch size that a model was exported with, if it takes no other."""
    sizes = {tensor.shape[0] for tensor in spec.inputs if tensor.shape}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) else None


def from_dataset(dataset: Dataset, spec: ProgramSpec) -> Samples:
    """The arrays of `dataset` in the order of the model's inputs, with its targets."""
    rows = np.arange(len(dataset))
    return Samples(dataset.inputs_for(spec), dataset.targets, rows, "dataset", fixed_batch(spec))


def synthetic(spec: ProgramSpec, count: int, seed: int = 0) -> Samples:
    """Made-up samples: normal noise for floats, 0 or 1 for integers, which are in range of any embedding."""
    generator = np.random.default_rng(seed)
    arrays = tuple(_made_up(tensor, count, generator) for tensor in spec.inputs)
    return Samples(arrays, None, np.arange(count), "synthetic", fixed_batch(spec))


def _made_up(tensor: TensorSpec, count: int, generator: np.random.Generator) -> np.ndarray:
    shape = (count, *(FREE_SIZE if isinstance(size, str) else size for size in tensor.shape[1:]))
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)

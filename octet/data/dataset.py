"""Datasets: named arrays of equal first dimension, from `.safetensors` or `.npz`. No torch, and no pickle is opened."""

from __future__ import annotations

import mmap
from functools import cached_property
from math import isfinite, prod
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from octet.data import files
from octet.data.files import refuse_foreign
from octet.data.fit import CASTS, TARGETS, match_inputs
from octet.errors import InvalidDatasetError
from octet.spec import ArraySpec, DatasetSpec, ProgramSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from octet.data.files import Array

__all__ = ["CASTS", "TARGETS", "Dataset", "describe_dataset", "read_dataset", "refuse_foreign"]

CHUNK_ELEMENTS = 2**20


class Dataset:
    """Named arrays with one entry per sample.

    Attributes:
        arrays: The arrays by name, all of the same first dimension. `label` (class numbers) or `target` (floats) is
            what the model should give; the others are inputs.
        spec: What the arrays are, with their least and greatest values.
    """

    def __init__(self, arrays: dict[str, Array]) -> None:
        """Looks at every value once.

        Raises:
            InvalidDatasetError: If there is no array, their lengths differ, or one holds something else than finite
                numbers.
        """
        self.arrays = arrays
        self.spec = _dataset_spec(
            {name: _array_spec(name, array.dtype, array.shape, _rows(array)) for name, array in arrays.items()}
        )

    def __len__(self) -> int:
        """The number of samples."""
        return self.spec.samples

    @cached_property
    def targets(self) -> Array | None:
        """`label` as int64 [n, …], or `target` as float32 [n, …]; None without either."""
        if "label" in self.arrays:
            return self.arrays["label"].astype(np.int64, copy=False)
        target = self.arrays.get("target")
        return None if target is None else target.astype(np.float32, copy=False)

    def inputs_for(self, program: ProgramSpec) -> tuple[Array, ...]:
        """The arrays that feed a program, in the order and the dtypes of its inputs.

        Raises:
            InvalidDatasetError: If one is missing or does not fit.
        """
        names = match_inputs(self.spec, program)
        return tuple(
            self.arrays[name].astype(tensor.dtype, copy=False)
            for name, tensor in zip(names, program.inputs, strict=True)
        )


def read_dataset(path: str | Path) -> Dataset:
    """Reads `.safetensors` or `.npz`, told apart by their bytes.

    The arrays of a `.safetensors` are mapped, not read: what is not used takes no memory.

    Raises:
        InvalidDatasetError: If the file is something else, damaged, or not a dataset.
    """
    path = Path(path)
    with files.opened(path) as (file, zipped):
        return Dataset({name: array.read() for name, array in files.npz_arrays(path)} if zipped else _mapped(file))


def describe_dataset(path: str | Path) -> DatasetSpec:
    """The spec of the dataset in a file, found with all the checks of `read_dataset` but in little memory.

    Raises:
        InvalidDatasetError: If the file is something else, damaged, or not a dataset.
    """
    path = Path(path)
    with files.opened(path) as (file, zipped):
        arrays = files.npz_arrays(path) if zipped else files.safetensors_arrays(file, path.stat().st_size)
        return _dataset_spec(
            {name: _array_spec(name, array.dtype, array.shape, array.pieces()) for name, array in arrays}
        )


def _mapped(file: IO[bytes]) -> dict[str, Array]:
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return {
        name: np.frombuffer(data, array.dtype, prod(array.shape), array.start or 0).reshape(array.shape)
        for name, array in files.safetensors_arrays(file, len(data))
    }


def _rows(array: Array) -> Iterator[Array]:
    """An array in pieces, so that nothing of its size is made to look at it."""
    rows = max(1, CHUNK_ELEMENTS // max(1, prod(array.shape[1:])))
    for at in range(0, len(array) if array.size else 0, rows):
        yield array[at : at + rows]


def _array_spec(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], pieces: Iterable[Array]) -> ArraySpec:
    """Dtype, shape and range of an array whose values come in `pieces`."""
    if dtype.kind not in "biuf":
        raise InvalidDatasetError(f"The array {name!r} has dtype {dtype}, which holds no numbers.")
    if not shape:
        raise InvalidDatasetError(f"The array {name!r} is a single number, without samples.")
    lows, highs, count = [], [], 0
    for piece in pieces:
        low, high = float(piece.min()), float(piece.max())
        lows.append(low)
        highs.append(high)
        # A NaN in a piece is its minimum, an infinity one of its extremes.
        if not (isfinite(low) and isfinite(high)):
            count += int(piece.size - np.isfinite(piece).sum())
    if count:
        raise InvalidDatasetError(
            f"The array {name!r} holds {count} NaN or infinite value{'s'[: count > 1]}.", hint="Clean the data first."
        )
    return ArraySpec(dtype=dtype.name, shape=shape, minimum=min(lows, default=None), maximum=max(highs, default=None))


def _dataset_spec(arrays: dict[str, ArraySpec]) -> DatasetSpec:
    lengths = {name: spec.shape[0] for name, spec in arrays.items()}
    if not lengths:
        raise InvalidDatasetError("The dataset has 0 arrays.", hint=files.HOW_TO_SAVE)
    if len(set(lengths.values())) > 1:
        raise InvalidDatasetError(
            f"The dataset's arrays have different lengths: {_listed(lengths)}.",
            hint="The first dimension of every array counts the samples.",
        )
    if all(name in arrays for name in TARGETS):
        raise InvalidDatasetError("The dataset has both `label` and `target`.", hint="Keep the one that is meant.")
    return DatasetSpec(samples=next(iter(lengths.values())), arrays=arrays)


def _listed(lengths: dict[str, int]) -> str:
    return ", ".join(f"{name} {length}" for name, length in lengths.items())

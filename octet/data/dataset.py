"""Datasets: named arrays of equal first dimension, from `.safetensors` or `.npz`. No torch, and no pickle is opened."""

from __future__ import annotations

import json
import mmap
import re
import zipfile
import zlib
from functools import cached_property
from math import isfinite, prod
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any

import numpy as np

from octet.data.fit import CASTS, TARGETS, check_dataset, match_inputs
from octet.errors import InvalidDatasetError
from octet.spec import ArraySpec, DatasetSpec, ProgramSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["CASTS", "TARGETS", "Dataset", "check_dataset", "read_dataset", "refuse_foreign"]

Array = np.ndarray[Any, Any]

HOW_TO_SAVE = (
    'Save arrays with numpy.savez("data.npz", input_0=x, label=y) or '
    'safetensors.numpy.save_file({"input_0": x, "label": y}, "data.safetensors").'
)
MAX_ARRAYS = 256
# A compressed array may unfold into no more than this, nor into more than this many times its file's size.
MAX_UNFOLDED_BYTES = 4 * 2**30
MAX_UNFOLDING = 32
ALWAYS_UNFOLDED_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 2**20
CHUNK_ELEMENTS = 2**20

_NPZ = b"PK\x03\x04"
_SAFETENSORS = re.compile(rb".{6}\x00\x00\s*\{", re.DOTALL)
_SAFETENSORS_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}
_LENGTH = Struct("<Q")


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
        specs = {name: _array_spec(name, array) for name, array in arrays.items()}
        lengths = {name: spec.shape[0] for name, spec in specs.items()}
        if not lengths or len(lengths) > MAX_ARRAYS:
            raise InvalidDatasetError(f"The dataset has {len(lengths)} arrays.", hint=HOW_TO_SAVE)
        if len(set(lengths.values())) > 1:
            raise InvalidDatasetError(
                f"The dataset's arrays have different lengths: {_listed(lengths)}.",
                hint="The first dimension of every array counts the samples.",
            )
        if all(name in arrays for name in TARGETS):
            raise InvalidDatasetError("The dataset has both `label` and `target`.", hint="Keep the one that is meant.")
        self.arrays = arrays
        self.spec = DatasetSpec(samples=next(iter(lengths.values())), arrays=specs)

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

    def subset(self, indices: Sequence[int] | slice | Array) -> Dataset:
        """The samples at `indices`, in that order."""
        return Dataset({name: array[indices] for name, array in self.arrays.items()})


def refuse_foreign(head: bytes) -> None:
    """Looks at how a file starts; ten bytes are enough.

    Raises:
        InvalidDatasetError: If it is neither `.npz` nor `.safetensors`.
    """
    if not head.startswith(_NPZ) and not _SAFETENSORS.match(head):
        what = "empty" if not head else "neither .npz nor .safetensors"
        raise InvalidDatasetError(f"The dataset is {what}.", hint=HOW_TO_SAVE)


def read_dataset(path: str | Path) -> Dataset:
    """Reads `.safetensors` or `.npz`, told apart by their bytes.

    The arrays of a `.safetensors` are mapped, not read: what is not used takes no memory.

    Raises:
        InvalidDatasetError: If the file is something else, damaged, or not a dataset.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InvalidDatasetError(f"The dataset {path} cannot be read: {error.strerror}.") from error
    refuse_foreign(head)
    return Dataset(_read_npz(path) if head.startswith(_NPZ) else dict(_read_safetensors(path)))


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            unfolded = sum(entry.file_size for entry in archive.infolist())
            limit = min(MAX_UNFOLDED_BYTES, max(ALWAYS_UNFOLDED_BYTES, MAX_UNFOLDING * path.stat().st_size))
            if unfolded > limit or len(archive.infolist()) > MAX_ARRAYS:
                raise InvalidDatasetError(
                    f"The .npz unfolds into {unfolded} bytes; at most {limit} are taken of one of this size.",
                    hint="Save it with numpy.savez, which does not compress, or as .safetensors.",
                )
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _numeric(name, arrays[name]) for name in arrays.files}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, MemoryError) as error:
        raise InvalidDatasetError(f"The .npz cannot be read: {error}.", hint=HOW_TO_SAVE) from error


def _numeric(name: str, array: Any) -> Array:
    """What `numpy.load` gave, if it is an array: it hands other members out as bytes."""
    if not isinstance(array, np.ndarray):
        raise InvalidDatasetError(f"The .npz has a member {name!r} that is no array.", hint=HOW_TO_SAVE)
    return array


def _read_safetensors(path: Path) -> Iterator[tuple[str, Array]]:
    """The arrays as views of the mapped file. Format: https://huggingface.co/docs/safetensors."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    if start > min(len(data), MAX_HEADER_BYTES):
        raise InvalidDatasetError("The .safetensors is truncated: its header is longer than the file.")
    try:
        header = json.loads(data[_LENGTH.size : start])
        entries = [(name, header[name]) for name in header if name != "__metadata__"]
        for name, entry in entries:
            yield name, _mapped(name, entry, data, start)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidDatasetError("The .safetensors is damaged: its header is not one.", hint=HOW_TO_SAVE) from error


def _mapped(name: str, entry: dict[str, Any], data: mmap.mmap, start: int) -> Array:
    if entry["dtype"] not in _SAFETENSORS_DTYPES:
        raise InvalidDatasetError(
            f"The array {name!r} has dtype {str(entry['dtype'])[:20]}, which numpy does not have.",
            hint="Save it as float32.",
        )
    dtype = np.dtype(_SAFETENSORS_DTYPES[entry["dtype"]])
    shape = tuple(int(size) for size in entry["shape"])
    first, last = (int(offset) for offset in entry["data_offsets"])
    if min((first, last, *shape)) < 0 or start + last > len(data) or last - first != prod(shape) * dtype.itemsize:
        raise InvalidDatasetError(f"The .safetensors is truncated or damaged: {name!r} does not lie inside the file.")
    return np.frombuffer(data, dtype, prod(shape), start + first).reshape(shape)


def _array_spec(name: str, array: Array) -> ArraySpec:
    """Dtype, shape and range of an array, found piece by piece."""
    if array.dtype.kind not in "biuf":
        raise InvalidDatasetError(f"The array {name!r} has dtype {array.dtype}, which holds no numbers.")
    if array.ndim == 0:
        raise InvalidDatasetError(f"The array {name!r} is a single number, without samples.")
    lows, highs = [], []
    rows = max(1, CHUNK_ELEMENTS // max(1, prod(array.shape[1:])))
    for at in range(0, len(array) if array.size else 0, rows):
        piece = array[at : at + rows]
        lows.append(float(piece.min()))
        highs.append(float(piece.max()))
    # A NaN in a piece is its minimum, an infinity one of its extremes.
    if not all(isfinite(value) for value in (*lows, *highs)):
        count = int(array.size - np.isfinite(array).sum())
        raise InvalidDatasetError(
            f"The array {name!r} holds {count} NaN or infinite value{'s'[: count > 1]}.", hint="Clean the data first."
        )
    return ArraySpec(
        dtype=array.dtype.name,
        shape=array.shape,
        minimum=min(lows, default=None),
        maximum=max(highs, default=None),
    )


def _listed(lengths: dict[str, int]) -> str:
    return ", ".join(f"{name} {length}" for name, length in lengths.items())

"""Files of arrays, `.npz` and `.safetensors`: where each array lies, and its values piece by piece.

No pickle is opened, and nothing is believed of a file but what its own bytes bear out.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from struct import Struct
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from octet.errors import InvalidArchiveError, InvalidDatasetError
from octet.program.pt2.archive import Directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
PIECE_BYTES = 4 * 2**20

NPZ = b"PK\x03\x04"
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
_NPY_VERSION = (1, 0)
_COMPRESSION = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


@dataclass(frozen=True)
class StoredArray:
    """One array of a file.

    Attributes:
        dtype: Of numbers.
        shape: Its sizes.
        fortran: Whether the first index varies fastest.
        file: What its bytes are read from: the whole file, or a member of the archive.
        start: Where in the whole file they begin; None in an archive, where `file` stands at them.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    file: IO[bytes]
    start: int | None

    @property
    def nbytes(self) -> int:
        """Size of all values."""
        return prod(self.shape) * self.dtype.itemsize

    def pieces(self) -> Iterator[Array]:
        """All values in the order they are stored, in flat pieces of at most `PIECE_BYTES`."""
        if self.start is not None:
            self.file.seek(self.start)
        left = self.nbytes
        while left:
            data = self.file.read(min(left, PIECE_BYTES // self.dtype.itemsize * self.dtype.itemsize))
            if not data or len(data) % self.dtype.itemsize:
                raise EOFError
            left -= len(data)
            yield np.frombuffer(data, self.dtype)

    def read(self) -> Array:
        """The whole array, in memory."""
        values: Array = np.empty(prod(self.shape), self.dtype)
        at = 0
        for piece in self.pieces():
            values[at : at + len(piece)] = piece
            at += len(piece)
        return values.reshape(self.shape, order="F" if self.fortran else "C")


def refuse_foreign(head: bytes) -> None:
    """Looks at how a file starts; ten bytes are enough.

    Raises:
        InvalidDatasetError: If it is neither `.npz` nor `.safetensors`.
    """
    if not head.startswith(NPZ) and not _SAFETENSORS.match(head):
        what = "empty" if not head else "neither .npz nor .safetensors"
        raise InvalidDatasetError(f"The dataset is {what}.", hint=HOW_TO_SAVE)


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """The file, and whether it is an `.npz`; told by its bytes.

    Raises:
        InvalidDatasetError: If it cannot be read, is something else, or turns out to be damaged inside the block.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
            refuse_foreign(head)
            yield file, head.startswith(NPZ)
    except OSError as error:
        raise InvalidDatasetError(f"The dataset {path} cannot be read: {error.strerror or error}.") from error
    except (
        InvalidArchiveError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, MemoryError,
        RuntimeError,  # zipfile's, of encryption; and too deep a nesting
    ) as error:  # fmt: skip
        raise InvalidDatasetError(
            f"The dataset is truncated or damaged: {error or 'it ends too early'}.", hint=HOW_TO_SAVE
        ) from error


def npz_arrays(path: Path) -> Iterator[tuple[str, StoredArray]]:
    """The arrays of an `.npz`, each to be read before the next is asked for."""
    # zipfile makes an object of every entry that a file claims: count them first.
    members = [entry.name for entry in Directory.read(path).entries]
    _check_count(len(members))
    with zipfile.ZipFile(path) as archive:
        unfolded = sum(entry.file_size for entry in archive.infolist())
        limit = min(MAX_UNFOLDED_BYTES, max(ALWAYS_UNFOLDED_BYTES, MAX_UNFOLDING * path.stat().st_size))
        if unfolded > limit:
            raise InvalidDatasetError(
                f"The .npz unfolds into {unfolded} bytes; at most {limit} are taken of one of this size.",
                hint="Save it with numpy.savez, which does not compress, or as .safetensors.",
            )
        if len(set(members)) < len(members):
            raise InvalidDatasetError("The .npz has two members of one name.", hint=HOW_TO_SAVE)
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if entry.compress_type not in _COMPRESSION:
                raise InvalidDatasetError(f"The .npz has a member {name!r} in a compression that numpy never uses.")
            with archive.open(entry) as member:
                yield name, _npy(name, member, entry.file_size)


def _npy(name: str, member: IO[bytes], size: int) -> StoredArray:
    """The array in a member of `size` bytes, by its header (NEP 1); later versions are for structured dtypes."""
    try:
        version = npy.read_magic(member)
    except ValueError:
        version = None
    if version != _NPY_VERSION:
        raise InvalidDatasetError(f"The .npz has a member {name!r} that is no array of numbers.", hint=HOW_TO_SAVE)
    shape, fortran, dtype = npy.read_array_header_1_0(member)
    if dtype.kind not in "biuf":
        raise InvalidDatasetError(
            f"The array {name!r} has dtype {dtype}, which holds no numbers.", hint="Convert it, or leave it out."
        )
    array = StoredArray(dtype, _sizes(shape), fortran, member, None)
    if member.tell() + array.nbytes != size:
        raise InvalidDatasetError(f"The .npz is damaged: {name!r} is not of the size that it claims.", hint=HOW_TO_SAVE)
    return array


def safetensors_arrays(file: IO[bytes], size: int) -> Iterator[tuple[str, StoredArray]]:
    """The arrays of a `.safetensors` of `size` bytes. Format: https://huggingface.co/docs/safetensors."""
    file.seek(0)
    length = _LENGTH.unpack(file.read(_LENGTH.size))[0]
    start = _LENGTH.size + length
    if start > min(size, MAX_HEADER_BYTES):
        raise InvalidDatasetError("The .safetensors is truncated: its header is longer than the file.")
    header = json.loads(file.read(length))
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    _check_count(len(entries))
    arrays = {name: _tensor(name, entry, file, start, size) for name, entry in entries.items()}
    if sum(array.nbytes for array in arrays.values()) > size:
        raise InvalidDatasetError("The .safetensors is damaged: its arrays overlap.")
    yield from arrays.items()


def _tensor(name: str, entry: dict[str, Any], file: IO[bytes], start: int, size: int) -> StoredArray:
    if entry["dtype"] not in _SAFETENSORS_DTYPES:
        raise InvalidDatasetError(
            f"The array {name!r} has dtype {str(entry['dtype'])[:20]}, which numpy does not have.",
            hint="Save it as float32.",
        )
    dtype = np.dtype(_SAFETENSORS_DTYPES[entry["dtype"]])
    shape = _sizes(entry["shape"])
    first, last = _sizes(entry["data_offsets"])
    if start + last > size or last - first != prod(shape) * dtype.itemsize:
        raise InvalidDatasetError(f"The .safetensors is truncated or damaged: {name!r} does not lie inside the file.")
    return StoredArray(dtype, shape, fortran=False, file=file, start=start + first)


def _sizes(values: Any) -> tuple[int, ...]:
    sizes = tuple(int(value) for value in values)
    if min(sizes, default=0) < 0:
        raise InvalidDatasetError("The dataset is damaged: an array has a negative size.")
    return sizes


def _check_count(count: int) -> None:
    if not 0 < count <= MAX_ARRAYS:
        raise InvalidDatasetError(f"The dataset has {count} arrays; 1 to {MAX_ARRAYS} are read.", hint=HOW_TO_SAVE)

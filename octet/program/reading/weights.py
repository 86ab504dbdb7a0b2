"""The tensors of a `.pt2`: where their bytes are, whether they fit, and whether they are finite. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from octet.errors import InvalidModelError
from octet.program.graph import STRIDED, Graph, Weight, dtype, number
from octet.program.pt2 import schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from octet.program.pt2.archive import Archive, Record

MAX_OVERLAP = 8
FREE_BYTES = 2**26
"""What a weight that repeats its elements (a stride of 0) may take, laid out, beyond `MAX_OVERLAP` times its record."""
MAX_SHARING = 4096
"""Different tensors in one record: each is looked for in each piece of it."""
FOLDERS = {
    "weights": ("data/weights/", "data/weights/model_weights_config.json"),
    "constants": ("data/constants/", "data/constants/model_constants_config.json"),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """How a schema dtype is stored: torch's name, its size in bytes, and where the exponent of a float lies.

    Attributes:
        name: The dtype's name in `torch`.
        bits: Unsigned integer of the same width, or of that of a part.
        exponent: Mask of the exponent bits; all of them set means infinity or NaN. 0 for integers.
        mantissa: Mask of the mantissa bits; any of them set beside a full exponent means NaN.
        parts: How many such numbers an element is made of: a complex one of two.
    """

    name: str
    bits: str
    exponent: int = 0
    mantissa: int = 0
    parts: int = 1

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return np.dtype(self.bits).itemsize * self.parts


STORED: dict[int, Stored] = {
    1: Stored("uint8", "<u1"),
    2: Stored("int8", "<u1"),
    3: Stored("int16", "<u2"),
    4: Stored("int32", "<u4"),
    5: Stored("int64", "<u8"),
    6: Stored("float16", "<u2", 0x7C00, 0x03FF),
    7: Stored("float32", "<u4", 0x7F800000, 0x007FFFFF),
    8: Stored("float64", "<u8", 0x7FF0000000000000, 0x000FFFFFFFFFFFFF),
    10: Stored("complex64", "<u4", 0x7F800000, 0x007FFFFF, parts=2),
    11: Stored("complex128", "<u8", 0x7FF0000000000000, 0x000FFFFFFFFFFFFF, parts=2),
    12: Stored("bool", "<u1"),
    13: Stored("bfloat16", "<u2", 0x7F80, 0x007F),
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One weight and where it lies.

    Attributes:
        weight: Its kind and its name in the source model.
        record: The archive's entry that holds its storage.
        stored: Its dtype in the file.
        dtype: The dtype that it is brought to, by its name in `torch`.
        shape: Its sizes.
        strides: Its strides, in elements.
        start: First byte of it in the file.
        length: Bytes from its first to its last element.
    """

    weight: Weight
    record: Record
    stored: Stored
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int
    length: int


def read_tensors(archive: Archive, graph: Graph, limit: int) -> dict[str, StoredTensor]:
    """Where each weight of the graph lies, by the graph's name for it.

    Raises:
        InvalidModelError: If one is missing, pickled, of another form than the graph says, or reaches past its bytes.
    """
    payloads = {
        kind: schema.parse(schema.PayloadConfig, archive.read(config, limit), config).config
        for kind, (_, config) in FOLDERS.items()
    }
    return {
        name: _locate(weight, dtype(graph.metas[name].dtype, weight.name), payloads, archive)
        for name, weight in graph.weights.items()
    }


def _locate(
    weight: Weight, wanted: str, payloads: dict[str, dict[str, schema.Payload]], archive: Archive
) -> StoredTensor:
    # Buffers that are left out of the state dict are stored among the constants.
    found = [(FOLDERS[kind][0], config[weight.name]) for kind, config in payloads.items() if weight.name in config]
    if not found:
        raise InvalidModelError(f"The file has no data for the {weight.kind} {weight.name!r}.")
    folder, payload = found[0]
    meta = payload.tensor_meta
    if payload.use_pickle or meta is None:
        raise InvalidModelError(
            f"The {weight.kind} {weight.name!r} is stored as a pickle, which can run code; Octet never opens one.",
            hint="Export the model with plain tensors as parameters and buffers.",
        )
    if meta.dtype not in STORED or meta.layout != STRIDED:
        raise InvalidModelError(f"The {weight.kind} {weight.name!r} has a dtype or layout that Octet does not take.")
    shape = tuple(number(size, weight.name) for size in meta.sizes)
    if (meta.dtype, shape) != (weight.meta.dtype, weight.shape):
        raise InvalidModelError(f"The {weight.kind} {weight.name!r} has another dtype or shape than the graph says.")
    return _span(weight, meta, wanted, shape, archive.record(folder + payload.path_name))


def _span(weight: Weight, meta: schema.TensorMeta, wanted: str, shape: tuple[int, ...], record: Record) -> StoredTensor:
    """The tensor, if each of its elements lies inside its record."""
    stored = STORED[meta.dtype]
    strides = tuple(number(stride, weight.name) for stride in meta.strides)
    offset = number(meta.storage_offset, weight.name)
    if len(strides) != len(shape) or min((offset, *shape, *strides)) < 0:
        raise InvalidModelError(f"The {weight.kind} {weight.name!r} has impossible sizes or strides.")
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    elements = 0 if 0 in shape else last + 1
    if (offset + elements) * stored.size > record.size:
        raise InvalidModelError(
            f"The {weight.kind} {weight.name!r} reaches past the {record.size} bytes stored for it."
        )
    if prod(max(size, 1) for size in shape) * stored.size > FREE_BYTES + MAX_OVERLAP * record.size:
        raise InvalidModelError(f"The {weight.kind} {weight.name!r} repeats its {record.size} bytes too often.")
    start = record.offset + offset * stored.size
    return StoredTensor(weight, record, stored, wanted, shape, strides, start, elements * stored.size)


def check_finite(archive: Archive, tensors: Iterable[StoredTensor]) -> None:
    """Reads every weight once, in small pieces, and refuses NaN; and infinity in parameters.

    Buffers and constants may be infinite: attention masks are.

    Raises:
        InvalidModelError: With the name of the tensor and how many of its values are not finite.
        InvalidArchiveError: If a record is damaged.
    """
    by_record: dict[str, dict[tuple[int, int, Stored, str], StoredTensor]] = {}
    for tensor in tensors:
        # Tied weights are the same bytes under several names.
        same = (tensor.start, tensor.length, tensor.stored, tensor.weight.kind)
        by_record.setdefault(tensor.record.name, {}).setdefault(same, tensor)
    for sharing in by_record.values():
        _check_record(archive, list(sharing.values()))


def _check_record(archive: Archive, tensors: list[StoredTensor]) -> None:
    record = tensors[0].record
    whole = sum(tensor.length for tensor in tensors)
    if len(tensors) > MAX_SHARING or whole > MAX_OVERLAP * max(record.size, 1):
        raise InvalidModelError(f"The weights in {record.name!r} overlap more than those of a real model.")
    nans, infinities = [0] * len(tensors), [0] * len(tensors)
    at = record.offset
    for piece in archive.pieces(record):
        for index, tensor in enumerate(tensors):
            # From the record's start, tensors and pieces start on multiples of the element's size: none is cut.
            part = piece[max(tensor.start - at, 0) : max(tensor.start + tensor.length - at, 0)]
            if part and tensor.stored.exponent:
                nan, infinity = _count(part, tensor.stored)
                nans[index] += nan
                infinities[index] += infinity
        at += len(piece)
    for tensor, nan, infinity in zip(tensors, nans, infinities, strict=True):
        _refuse(tensor.weight, nan, "NaN")
        if tensor.weight.kind == "parameter":
            _refuse(tensor.weight, infinity, "infinite")


def _count(piece: bytes, stored: Stored) -> tuple[int, int]:
    """How many NaN and how many infinite values a piece holds."""
    bits = np.frombuffer(piece, dtype=stored.bits)
    special = bits[(bits & stored.exponent) == stored.exponent]
    nan = int(np.count_nonzero(special & stored.mantissa))
    return nan, int(special.size) - nan


def _refuse(weight: Weight, count: int, what: str) -> None:
    if count:
        raise InvalidModelError(
            f"The {weight.kind} {weight.name!r} holds {count} {what} value{'s'[: count > 1]}.",
            hint="Check the checkpoint the model was made from; training may have diverged.",
        )

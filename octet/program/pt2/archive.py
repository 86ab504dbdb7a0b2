"""Reads a zip archive without trusting it: every entry is checked before a byte of it is used.

The layout is that of APPNOTE.TXT, sections 4.3 and 4.4. Python's `zipfile` reads the whole directory into memory before
it can be looked at and accepts overlapping entries, so it is not used here. A `.pt2` stores its entries uncompressed:
what the directory says of sizes is then checked against the file, and nothing can unfold into more bytes than it has.
"""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from octet.errors import InvalidArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_ENTRIES = 100_000
MAX_DIRECTORY_BYTES = 32 * 2**20
MAX_NAME_BYTES = 1024
PIECE_BYTES = 2**20

Version = tuple[int, int, int, int]
"""What tells a file from another under its name: device, inode, size, and time of the last change."""

_END = Struct("<4s4H2LH")
_END64_LOCATOR = Struct("<4sLQL")
_END64 = Struct("<4sQ2H2L4Q")
_CENTRAL = Struct("<4s6H3L5H2L")
_LOCAL = Struct("<4s5H3L2H")
_EXTRA = Struct("<2H")
_U64 = Struct("<Q")
_ZIP64_EXTRA = 1
_U16_MAX = 0xFFFF
_U32_MAX = 0xFFFFFFFF
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class Record:
    """One stored entry: its bytes are `size` bytes of the file from `offset`, and have this CRC-32."""

    name: str
    offset: int
    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What the directory says of one entry; nothing of it has been compared with the rest of the file."""

    name: str
    header: int
    size: int
    compressed: int
    method: int
    flags: int
    crc: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The directory at the end of a zip file: enough to tell what kind of archive it is."""

    path: Path
    version: Version
    start: int
    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, path: Path) -> Directory:
        """Reads the directory of `path`.

        Raises:
            InvalidArchiveError: If the file is truncated or damaged, or an entry's name is not a plain relative path.
        """
        with _descriptor(path) as file:
            start, length, count = _directory(file, os.fstat(file).st_size)
            return cls(path, _version(file), start, tuple(_entries(_read(file, start, length), count)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the entries."""
        return tuple(entry.name for entry in self.entries)

    def archive(self) -> Archive:
        """The entries as records, each checked: stored as it is, inside the file, disjoint from the others.

        Raises:
            InvalidArchiveError: If one is not.
        """
        with _descriptor(self.path) as file:
            return Archive(self.path, self.version, _records(file, self.entries, self.start))


class Archive:
    """The checked records of a zip file."""

    def __init__(self, path: Path, version: Version, records: dict[str, Record]) -> None:
        self.path = path
        self.version = version
        self.records = records

    def check_unchanged(self) -> None:
        """Raises an InvalidArchiveError if the file is no longer the one whose records were checked."""
        with _descriptor(self.path) as file:
            if _version(file) != self.version:
                raise InvalidArchiveError(f"The file {self.path} has changed since it was read.", hint="Load it again.")

    def read(self, name: str, limit: int) -> bytes:
        """All bytes of a record of at most `limit` bytes, checked against their CRC."""
        record = self.record(name)
        if record.size > limit:
            raise InvalidArchiveError(f"The record {name!r} has {record.size} bytes; at most {limit} are read.")
        return b"".join(self.pieces(record))

    def record(self, name: str) -> Record:
        """The record of that name."""
        if name not in self.records:
            raise InvalidArchiveError(f"The archive has no record {name!r}, which a .pt2 has.")
        return self.records[name]

    def pieces(self, record: Record) -> Iterator[bytes]:
        """The record's bytes in pieces of at most `PIECE_BYTES`; the last one comes only if the CRC holds."""
        crc, offset, end = 0, record.offset, record.offset + record.size
        with _descriptor(self.path) as file:
            while offset < end:
                piece = _read(file, offset, min(PIECE_BYTES, end - offset))
                crc = zlib.crc32(piece, crc)
                offset += len(piece)
                if offset == end and crc != record.crc:
                    raise InvalidArchiveError(
                        f"The record {record.name!r} is damaged: its checksum does not match.",
                        hint="Upload or copy it again.",
                    )
                yield piece


def _version(file: int) -> Version:
    status = os.fstat(file)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidArchiveError(f"The file {path} cannot be read: {error.strerror}.") from error
    try:
        yield file
    finally:
        os.close(file)


def _read(file: int, offset: int, size: int) -> bytes:
    """Exactly `size` bytes from `offset`; a short file is an error."""
    data = os.pread(file, size, offset) if offset >= 0 else b""
    if len(data) != size:
        raise _truncated()
    return data


def _truncated() -> InvalidArchiveError:
    return InvalidArchiveError(
        "The file is truncated: it starts as a zip archive, but its end is missing.",
        hint="Upload or copy it again, and compare the sizes.",
    )


def _directory(file: int, size: int) -> tuple[int, int, int]:
    """Where the central directory starts, its length, and how many entries it has."""
    tail_size = min(size, _END.size + _U16_MAX)
    tail = _read(file, size - tail_size, tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise _truncated()
    _, _, _, _, count, length, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise _truncated()
    end = size - tail_size + at
    if count == _U16_MAX or _U32_MAX in (length, start):
        start, length, count, end = _directory64(file, end)
    if count > MAX_ENTRIES or length > MAX_DIRECTORY_BYTES:
        raise InvalidArchiveError(f"The archive lists {count} entries in {length} bytes, more than Octet reads.")
    if start + length > end:
        raise InvalidArchiveError("The archive is damaged: its directory does not lie inside the file.")
    return start, length, count


def _directory64(file: int, end: int) -> tuple[int, int, int, int]:
    """The same from the zip64 records that stand before the end record at `end`."""
    magic, _, at, _ = _END64_LOCATOR.unpack(_read(file, end - _END64_LOCATOR.size, _END64_LOCATOR.size))
    if magic != b"PK\x06\x07" or at > end - _END64_LOCATOR.size - _END64.size:
        raise InvalidArchiveError("The archive is damaged: its zip64 locator points nowhere.")
    magic, *_, count, length, start = _END64.unpack(_read(file, at, _END64.size))
    if magic != b"PK\x06\x06":
        raise InvalidArchiveError("The archive is damaged: its zip64 end record is not one.")
    return start, length, count, at


def _entries(directory: bytes, count: int) -> Iterator[Entry]:
    at = 0
    for _ in range(count):
        if len(directory) - at < _CENTRAL.size:
            raise InvalidArchiveError("The archive is damaged: its directory ends too early.")
        fields = _CENTRAL.unpack_from(directory, at)
        magic, _, _, flags, method, _, _, crc, compressed, size, name_length, extra_length, comment, *_, header = fields
        name_at = at + _CENTRAL.size
        extra_at = name_at + name_length
        at = extra_at + extra_length + comment
        if magic != b"PK\x01\x02" or at > len(directory):
            raise InvalidArchiveError("The archive is damaged: its directory holds something that is no entry.")
        wide = _zip64_values(directory[extra_at : extra_at + extra_length])
        size, compressed, header = (
            next(wide, value) if value == _U32_MAX else value for value in (size, compressed, header)
        )
        yield Entry(_name(directory[name_at:extra_at]), header, size, compressed, method, flags, crc)


def _zip64_values(extra: bytes) -> Iterator[int]:
    """The 64-bit values of the zip64 extra field, in the order in which the 32-bit ones ran out."""
    at = 0
    while at + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        if kind == _ZIP64_EXTRA:
            block = extra[at : at + length]
            yield from (value for (value,) in _U64.iter_unpack(block[: len(block) // 8 * 8]))
        at += length


def _name(raw: bytes) -> str:
    """An entry's name, if it is a plain relative path."""
    try:
        name = raw[: MAX_NAME_BYTES + 1].decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidArchiveError(f"The archive has an entry whose name is not text: {raw[:40]!r}.") from None
    parts = name.removesuffix("/").split("/")
    if (
        len(raw) > MAX_NAME_BYTES
        or "\\" in name
        or not name.isprintable()
        or any(part in {"", ".", ".."} for part in parts)
    ):
        raise InvalidArchiveError(f"The archive has an entry with an unsafe name: {name[:80]!r}.")
    return name


def _records(file: int, entries: Iterable[Entry], directory: int) -> dict[str, Record]:
    """Checks each entry's local header and that no two entries share a byte."""
    records: dict[str, Record] = {}
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header):
        if entry.method != 0 or entry.size != entry.compressed or entry.flags & _ENCRYPTED:
            raise InvalidArchiveError(
                f"The entry {entry.name!r} is compressed or encrypted; a .pt2 stores its entries as they are.",
                hint="Upload the file as torch.export.save wrote it, not packed again.",
            )
        if entry.name in records:
            raise InvalidArchiveError(f"The archive has two entries named {entry.name!r}.")
        offset = _data_offset(file, entry, directory)
        if entry.header < end or offset + entry.size > directory:
            raise InvalidArchiveError(f"The entry {entry.name!r} overlaps another or reaches past the end of the file.")
        end = offset + entry.size
        records[entry.name] = Record(entry.name, offset, entry.size, entry.crc)
    return records


def _data_offset(file: int, entry: Entry, directory: int) -> int:
    """Where the entry's bytes start, by its local header."""
    if entry.header + _LOCAL.size > directory:
        raise InvalidArchiveError(f"The entry {entry.name!r} lies outside the file.")
    magic, *_, name_length, extra_length = _LOCAL.unpack(_read(file, entry.header, _LOCAL.size))
    name_at = entry.header + _LOCAL.size
    if magic != b"PK\x03\x04" or _read(file, name_at, name_length) != entry.name.encode():
        raise InvalidArchiveError(f"The entry {entry.name!r} is not where the archive's directory says.")
    offset: int = name_at + name_length + extra_length
    return offset

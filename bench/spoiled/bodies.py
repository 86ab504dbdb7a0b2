"""What stands in the place of a model or of data: one row for each way in which it is none."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

Kind = Literal["model", "dataset"]


class Sample(NamedTuple):
    """Real files: a model, and data for it in both formats."""

    model: bytes
    npz: bytes
    safetensors: bytes

    def of(self, kind: Kind, random: Random) -> bytes:
        """One of that kind."""
        return self.model if kind == "model" else random.choice((self.npz, self.safetensors))


def _flipped(good: bytes, random: Random) -> bytes:
    changed = bytearray(good)
    for _ in range(random.choice((1, 4, 64))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _spliced(good: bytes, random: Random) -> bytes:
    """With a part of it left out, twice, or of zeros."""
    start, end = sorted(random.randrange(len(good)) for _ in range(2))
    return good[:start] + random.choice((b"", good[start:end] * 2, bytes(end - start))) + good[end:]


def _rewritten(good: bytes, random: Random) -> bytes:
    """The archive with one member damaged, renamed, repeated, compressed or left out."""
    if not zipfile.is_zipfile(io.BytesIO(good)):
        return _spliced(good, random)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(out, "w") as new:
        chosen = random.choice(old.namelist())
        for name in old.namelist():
            data, method, names = old.read(name), zipfile.ZIP_STORED, [name]
            if name == chosen:
                data, method, names = random.choice(
                    (
                        (_flipped(data or b"x", random), method, names),
                        (data[: len(data) // 2], method, names),
                        (random.randbytes(len(data)), method, names),
                        (b'{"a":' * 10_000, method, names),
                        (data, zipfile.ZIP_DEFLATED, names),
                        (bytes(2**24), zipfile.ZIP_DEFLATED, names),
                        (data, method, ["../../../../etc/passwd"]),
                        (data, method, [f"{name}/" + "a" * 60_000]),
                        (data, method, []),
                    )
                )
            for one in names:
                new.writestr(one, data, compress_type=method)
    return out.getvalue()


def _of_another_format(_: bytes, random: Random) -> bytes:
    torchscript = io.BytesIO()
    with zipfile.ZipFile(torchscript, "w") as file:
        file.writestr("model/data.pkl", pickle.dumps({"a": 1}))
    return random.choice(
        (
            b"\x89PNG\r\n\x1a\n" + random.randbytes(200),
            b"%PDF-1.7\n" + random.randbytes(200),
            b"<!doctype html><script>alert(1)</script>",
            b'{"model": null}',
            gzip.compress(random.randbytes(500)),
            pickle.dumps({"weights": [1.0, 2.0]}),
            b"\x08\x07\x12\x07pytorch" + random.randbytes(300),
            torchscript.getvalue(),
            zipfile_of({}),
        )
    )


def _with_lying_arrays(_: bytes, random: Random) -> bytes:
    """Data whose header says something else than is there, or asks for code to be run."""
    shape = random.choice(
        ("(8, 4)", "(-1, 4)", "(10000000000, 4)", "()", "(8,)", "(" + "1," * 9000 + ")", "None", "(x,)")
    )
    dtype = random.choice(("<f4", "|O", "<U9", "<f64", "|V8", "<M8", "[('a', '<f4')]"))
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}".encode()
    array = (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", min(len(header), 65535))
        + header
        + random.randbytes(random.choice((0, 64)))
    )
    tensors = {"input_0": {"dtype": random.choice(("F32", "F7", 3)), "shape": [8, 4], "data_offsets": [0, 10**12]}}
    text = json.dumps(tensors).encode()
    size = random.choice((len(text), 2**40, 2**63, len(text) - 3))
    return random.choice(
        (
            array,
            zipfile_of({"input_0.npy": array}),
            zipfile_of({"input_0.npy": array, "../label.npy": array}),
            zipfile_of({"input_0.npy": pickle.dumps(np.zeros(3))}),
            struct.pack("<Q", size) + text + bytes(128),
            struct.pack("<Q", 2) + b"[]",
        )
    )


def zipfile_of(members: dict[str, bytes]) -> bytes:
    """An archive of them, not compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return out.getvalue()


BODIES: dict[str, Callable[[bytes, Random], bytes]] = {
    "random bytes": lambda _, random: random.randbytes(random.choice((1, 8, 100, 5000, 300_000))),
    "empty": lambda *_: b"",
    "cut": lambda good, random: good[: random.randrange(len(good))],
    "without its beginning": lambda good, random: good[random.randrange(1, len(good)) :],
    "bits flipped": _flipped,
    "spliced": _spliced,
    "archive rewritten": _rewritten,
    "another format": _of_another_format,
    "lying arrays": _with_lying_arrays,
}
"""Name -> makes a body out of a real file; only one with flipped bits can, by chance, still be one."""

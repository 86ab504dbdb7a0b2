"""Tells a `.pt2` from everything else people upload, by bytes and never by the file's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from octet.errors import InvalidArchiveError, UnsupportedFormatError
from octet.program.pt2.archive import Archive, Directory

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 4096
HOW_TO_EXPORT = (
    'Make a .pt2 of the model in Python: octet.export(model, (example_input,), "model.pt2"), or with torch 2.8 '
    'or later: torch.export.save(torch.export.export(model.eval(), (example_input,)), "model.pt2").'
)

MODEL = "models/model.json"
WEIGHTS_CONFIG = "data/weights/model_weights_config.json"

# How a file starts -> what it is. First match wins.
HEADS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), what)
    for pattern, what in (
        (rb"$", "an empty file"),
        (rb"PK\x05\x06", "an empty zip archive"),
        # torch.save before 1.6: a pickle that starts with torch's magic number.
        (
            rb"\x80.\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19",
            "a model or state dict saved by torch.save in its old format (a pickle)",
        ),
        (rb"\x80[\x01-\x06]", "a Python pickle"),
        (rb".{6}\x00\x00\s*\{", "a safetensors file, which holds weights but no model"),
        (rb"\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras saves"),
        (rb".{4}TFL3", "a TensorFlow Lite model"),
        (rb".{4}ET1\d", "an ExecuTorch program"),
        (rb"GGUF|GGML|ggjt|lmgg", "a GGUF model, as llama.cpp uses"),
        (rb"\x93NUMPY", "a NumPy array"),
        (rb"\x08\x01\x12", "a TensorFlow SavedModel"),
        # A ModelProto: its ir_version (field 1), then one of the fields that exporters write next.
        (rb"\x08[\x03-\x20][\x12\x1a\x22\x28\x32\x3a\x42\x72]", "an ONNX model"),
        (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|Rar!|7z\xbc\xaf", "a compressed file"),
        (rb".{257}ustar", "a tar archive"),
        (rb"version https://git-lfs", "a Git LFS pointer, not the file it points to"),
        (rb"\s*<(!DOCTYPE|html|\?xml)", "a web page"),
        (rb"\x7fELF|MZ", "a program or library"),
    )
)

Names = Collection[str]


def _any(pattern: str) -> Callable[[Names], bool]:
    compiled = re.compile(pattern)
    return lambda names: any(compiled.search(name) for name in names)


def _all(pattern: str) -> Callable[[Names], bool]:
    compiled = re.compile(pattern)
    return lambda names: all(compiled.search(name) for name in names)


# What a zip archive without a readable model is, by the names of its entries. First match wins.
_OLD_PT2 = "a .pt2 in the layout of torch 2.7 or older, which keeps the weights in pickles"
ARCHIVES: tuple[tuple[Callable[[Names], bool], str], ...] = (
    (_any(r"(^|/)serialized_exported_program\.json$"), _OLD_PT2),
    (_any(r"^[^/]+/data/weights/[^/]+\.pt$"), _OLD_PT2),
    (_any(r"^[^/]+/data/aotinductor/"), "an AOTInductor package, which is native code for one machine"),
    (_any(r"^[^/]+/models/[^/]+\.json$"), 'a .pt2 with models of other names than "model"'),
    (_any(r"(^|/)constants\.pkl$"), "a TorchScript archive"),
    (_any(r"(^|/)data\.pkl$"), "a model or state dict saved by torch.save (a pickle)"),
    (_all(r"\.npy$"), "an .npz of NumPy arrays"),
    (_any(r"(^|/)model\.weights\.h5$"), "a Keras model"),
    (_any(r"\.mlmodel$"), "a Core ML package"),
    (_any(r"(^|/)saved_model\.pb$"), "a TensorFlow SavedModel"),
)


def refuse_foreign(head: bytes) -> None:
    """Looks at how a file starts: `HEAD_BYTES` of it are enough, a zip archive's first four tell nothing more.

    Raises:
        UnsupportedFormatError: As soon as it cannot be a zip archive.
    """
    if head.startswith(b"PK\x03\x04"):
        return
    what = next((what for pattern, what in HEADS if pattern.match(head)), "in a format that Octet does not know")
    raise _unsupported(what)


def open_archive(path: Path) -> Archive:
    """The archive of a `.pt2`, its records by their names below the top folder.

    Raises:
        UnsupportedFormatError: If the file is something else.
        InvalidArchiveError: If it cannot be read, is truncated or damaged.
    """
    try:
        with path.open("rb") as file:
            refuse_foreign(file.read(HEAD_BYTES))
    except OSError as error:
        raise InvalidArchiveError(f"The file {path} cannot be read: {error.strerror}.") from error
    directory = Directory.read(path)
    top = _top_folder(directory.names)
    archive = directory.archive()
    records = {
        name.removeprefix(top): replace(record, name=name.removeprefix(top)) for name, record in archive.records.items()
    }
    archive = Archive(path, directory.version, records)
    _check_mark(archive, "archive_format", b"pt2")
    _check_mark(archive, "byteorder", b"little")
    return archive


def _top_folder(names: Names) -> str:
    """The one folder that holds everything in a `.pt2`."""
    tops = {name.split("/", 1)[0] + "/" for name in names}
    top = next(iter(tops)) if len(tops) == 1 else ""
    if not top or {top + MODEL, top + WEIGHTS_CONFIG} - set(names):
        raise _unsupported(
            next((what for matches, what in ARCHIVES if matches(names)), "a zip archive, but not a .pt2")
        )
    return top


def _check_mark(archive: Archive, name: str, expected: bytes) -> None:
    if name in archive.records and archive.read(name, limit=64).strip() != expected:
        raise InvalidArchiveError(f"The archive says {name} is something else than {expected.decode()!r}.")


def _unsupported(what: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(f"The file is {what}; Octet takes .pt2 files.", hint=HOW_TO_EXPORT)

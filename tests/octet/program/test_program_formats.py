"""What is not a `.pt2` is told what it is, and how to become one."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy
import torch
from pt2 import entries, write
from torch import nn

import octet
from octet.errors import UnsupportedFormatError
from octet.program.pt2.formats import HEAD_BYTES, refuse_foreign

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _saved(value: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def _zipped(*names: str, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return buffer.getvalue()


def _scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def _npz(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, input_0=np.zeros((2, 2)))
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(2))
    return buffer.getvalue()


FOREIGN: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "empty file"),
    "text": (lambda: b"hello, this is not a model at all", "a format that Octet does not know"),
    "old state dict": (
        lambda: _saved(nn.Linear(2, 2).state_dict(), _use_new_zipfile_serialization=False),
        "torch.save in its old format",
    ),
    "pickle": (lambda: pickle.dumps({"weight": [1.0]}), "a Python pickle"),
    "safetensors": (lambda: safetensors.numpy.save({"w": np.zeros(4, np.float32)}), "a safetensors file"),
    "onnx": (lambda: b"\x08\x07\x12\x07pytorch\x1a\x052.1.0\x3a\x10", "an ONNX model"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file"),
    "tflite": (lambda: b"\x1c\x00\x00\x00TFL3" + bytes(64), "a TensorFlow Lite model"),
    "gguf": (lambda: b"GGUF\x03\x00\x00\x00", "a GGUF model"),
    "gzip": (lambda: b"\x1f\x8b\x08\x00" + bytes(64), "a compressed file"),
    "web page": (lambda: b"<!DOCTYPE html><html>Not found</html>", "a web page"),
    "npy": (_npy, "a NumPy array"),
    "empty zip": (_zipped, "an empty zip archive"),
    "state dict": (lambda: _saved(nn.Linear(2, 2).state_dict()), "torch.save (a pickle)"),
    "whole model": (lambda: _saved(nn.Linear(2, 2)), "torch.save (a pickle)"),
    "torchscript": (_scripted, "a TorchScript archive"),
    "npz": (lambda: _npz(np.savez), "an .npz of NumPy arrays"),
    "compressed npz": (lambda: _npz(np.savez_compressed), "an .npz of NumPy arrays"),
    "torch 2.7": (
        lambda: _zipped("version", "serialized_exported_program.json", "serialized_state_dict.pt"),
        "the layout of torch 2.7 or older",
    ),
    "pickled weights": (lambda: _zipped("a/models/model.json", "a/data/weights/model.pt"), "torch 2.7 or older"),
    "aotinductor": (lambda: _zipped("a/data/aotinductor/model/m.so", "a/archive_format"), "an AOTInductor package"),
    "other model name": (
        lambda: _zipped("a/models/encoder.json", "a/data/weights/encoder_weights_config.json"),
        'models of other names than "model"',
    ),
    "zip": (
        lambda: _zipped("readme.txt", "src/a.py", compression=zipfile.ZIP_DEFLATED),
        "a zip archive, but not a .pt2",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_named_and_told_how_to_become_a_pt2(kind: str, tmp_path: Path) -> None:
    make, what = FOREIGN[kind]
    path = tmp_path / "model.pt2"
    path.write_bytes(make())
    with pytest.raises(UnsupportedFormatError) as refused:
        octet.load(path)
    assert what in refused.value.message
    assert "octet.export(model" in str(refused.value.hint)
    assert "torch.export.save(" in str(refused.value.hint)


@pytest.mark.parametrize("make", [make for make, _ in FOREIGN.values() if not make().startswith(b"PK\x03\x04")])
def test_the_first_bytes_of_what_is_no_zip_archive_are_enough(make: Callable[[], bytes]) -> None:
    with pytest.raises(UnsupportedFormatError):
        refuse_foreign(make()[:HEAD_BYTES])


def test_the_top_folder_may_have_any_name(resnet_pt2: Path, tmp_path: Path) -> None:
    content = {name.replace("model/", "any name/", 1): data for name, data in entries(resnet_pt2).items()}
    assert octet.load(write(tmp_path / "other.pt2", content)).spec == octet.load(resnet_pt2).spec

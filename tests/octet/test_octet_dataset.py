"""Datasets are read from `.npz` and `.safetensors`, and nothing else."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import octet
from octet.data.dataset import Dataset, describe_dataset, refuse_foreign
from octet.errors import InvalidDatasetError
from octet.spec import ProgramSpec, TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

Arrays = dict[str, np.ndarray[Any, Any]]


def _program(*inputs: TensorSpec) -> ProgramSpec:
    output = TensorSpec(name="output", dtype="float32", shape=("batch", 3))
    return ProgramSpec(inputs=inputs, outputs=(output,), layers=(), parameters=0, torch_version="2.13.0")


@pytest.fixture
def arrays() -> Arrays:
    random = np.random.default_rng(0)
    return {"input_0": random.normal(size=(6, 4)).astype(np.float32), "label": np.array([0, 1, 2, 0, 1, 2])}


def _npz(path: Path, **arrays: Any) -> Path:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture(params=["safetensors", "npz", "compressed npz"])
def file(request: pytest.FixtureRequest, arrays: Arrays, tmp_path: Path) -> Path:
    path = tmp_path / "data"
    if request.param == "safetensors":
        safetensors.numpy.save_file(arrays, path)
    else:
        with path.open("wb") as out:
            (np.savez if request.param == "npz" else np.savez_compressed)(out, **arrays)
    return path


def test_the_arrays_are_those_that_were_saved(file: Path, arrays: Arrays) -> None:
    dataset = octet.read_dataset(file)
    assert dataset.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(dataset.arrays[name], array)
        assert dataset.arrays[name].dtype == array.dtype


def test_the_spec_gives_lengths_dtypes_shapes_and_ranges(file: Path, arrays: Arrays) -> None:
    spec = describe_dataset(file)
    assert spec == octet.read_dataset(file).spec
    assert spec.samples == 6
    assert spec.arrays["label"].model_dump() == {"dtype": "int64", "shape": (6,), "minimum": 0.0, "maximum": 2.0}
    assert spec.arrays["input_0"].maximum == pytest.approx(float(arrays["input_0"].max()))


def test_a_file_cut_anywhere_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for cut in {0, 1, 7, 8, 9, 20, len(data) // 2, len(data) - 30, len(data) - 1}:
        file.write_bytes(data[:cut])
        for take in (octet.read_dataset, describe_dataset):
            with pytest.raises(InvalidDatasetError):
                take(file)


@pytest.mark.parametrize(
    "data",
    [b"", b"x,y\n1,2\n", pickle.dumps([1, 2]), b"\x93NUMPY\x01\x00", b"\x89HDF\r\n\x1a\n", b"PK\x05\x06" + bytes(18)],
)
def test_what_is_neither_format_is_refused_by_its_first_bytes(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match=r"\.npz") as refused:
        refuse_foreign(data[:64])
    assert "numpy.savez" in str(refused.value.hint)
    path = tmp_path / "data"
    path.write_bytes(data)
    with pytest.raises(InvalidDatasetError):
        octet.read_dataset(path)


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return self.path.mkdir, ()


def test_pickled_objects_are_never_opened(tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    path = _npz(tmp_path / "data.npz", input_0=np.array([Canary(canary)], dtype=object))
    with pytest.raises(InvalidDatasetError, match="holds no numbers"):
        octet.read_dataset(path)
    assert not canary.exists()


def test_a_compressed_array_that_unfolds_without_measure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with path.open("wb") as out:
        np.savez_compressed(out, input_0=np.zeros((80 * 2**20,), np.uint8))
    with pytest.raises(InvalidDatasetError, match="unfolds into"):
        octet.read_dataset(path)


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = _npz(tmp_path / "data.npz", input_0=np.zeros((2, 2)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InvalidDatasetError, match="no array"):
        octet.read_dataset(path)


def test_a_dtype_that_numpy_lacks_is_named(tmp_path: Path) -> None:
    safetensors.torch.save_file({"input_0": torch.zeros(2, 2, dtype=torch.bfloat16)}, tmp_path / "data")
    with pytest.raises(InvalidDatasetError, match="BF16") as refused:
        octet.read_dataset(tmp_path / "data")
    assert refused.value.hint == "Save it as float32."


@pytest.mark.parametrize("order", ["C", "F"])
def test_either_order_of_storage_is_read(order: Any, tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(2, 3, 4).copy(order=order)
    np.testing.assert_array_equal(octet.read_dataset(_npz(tmp_path / "data", x=array)).arrays["x"], array)


def test_arrays_that_claim_the_same_bytes_are_refused_before_they_are_looked_at(tmp_path: Path) -> None:
    entry = {"dtype": "U8", "shape": [1024], "data_offsets": [0, 1024]}
    header = json.dumps({"a": entry, "b": entry, "c": entry}).encode()
    path = tmp_path / "data.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(1024))
    with pytest.raises(InvalidDatasetError, match="overlap"):
        describe_dataset(path)


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + bytes(100))
    with pytest.raises(InvalidDatasetError, match="no array"):
        describe_dataset(path)


def test_an_array_that_claims_more_than_there_is_is_refused_before_there_is_room_for_it(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("x.npy", "w") as member:
        claim = {"descr": "<f4", "fortran_order": False, "shape": (2**40, 2**20)}
        np.lib.format.write_array_header_1_0(member, claim)
    for take in (octet.read_dataset, describe_dataset):
        with pytest.raises(InvalidDatasetError, match="size that it claims"):
            take(path)


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_memory_stays_flat_while_a_large_dataset_is_described(form: str, tmp_path: Path) -> None:
    path, arrays = tmp_path / "data", {"input_0": np.ones((100, 2**18), np.float32)}  # 100 MB
    safetensors.numpy.save_file(arrays, path) if form == "safetensors" else _npz(path, **arrays)
    code = """
import sys, resource
from octet.data.dataset import describe_dataset
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
describe_dataset(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    process = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(process.stdout) < 24 * 1024  # in KiB


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "0 arrays"),
        ({"a": np.zeros((2, 1)), "b": np.zeros((3, 1))}, "different lengths: a 2, b 3"),
        ({"a": np.array([[1.0], [np.nan], [np.inf]])}, "2 NaN or infinite values"),
        ({"a": np.array(["x", "y"])}, "holds no numbers"),
        ({"a": np.float32(1.0) * np.ones(())}, "single number"),
        ({"label": np.zeros(2, int), "target": np.zeros(2)}, "both"),
    ],
)
def test_arrays_that_make_no_dataset_are_refused(arrays: Arrays, message: str) -> None:
    with pytest.raises(InvalidDatasetError, match=message):
        Dataset(arrays)


def test_inputs_come_in_the_programs_order_by_name_or_by_position() -> None:
    program = _program(
        TensorSpec(name="ids", dtype="int64", shape=("batch", 2)),
        TensorSpec(name="x", dtype="float32", shape=("batch", 1)),
    )
    ids, x = np.ones((3, 2), np.int32), np.zeros((3, 1))
    for names in (("ids", "x"), ("input_0", "input_1"), ("input_0", "x")):
        given = Dataset({names[1]: x, names[0]: ids}).inputs_for(program)
        assert [(array.dtype.name, array.shape) for array in given] == [("int64", (3, 2)), ("float32", (3, 1))]


def test_targets_are_labels_or_values(arrays: Arrays) -> None:
    assert Dataset({"x": arrays["input_0"]}).targets is None
    labels = Dataset({"label": np.array([2, 0], np.uint8)}).targets
    values = Dataset({"target": np.array([[2.0], [0.5]])}).targets
    assert labels is not None
    assert values is not None
    assert (labels.dtype, values.dtype) == (np.int64, np.float32)

"""Files that were made to do harm: they touch nothing, and end in one of our errors."""

from __future__ import annotations

import json
import os
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pt2 import MODEL, WEIGHTS_CONFIG, Document, changed, entries, nodes, write

import octet
from octet.errors import InvalidArchiveError, InvalidModelError, OctetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# Names.


@pytest.mark.parametrize(
    "name",
    [
        "graph", "code", "forward", "training", "_modules", "_parameters", "__class__", "__class__.__init__",
        "__dict__",
        "_weight_0", "_weight_0.a", "layer.weight", "eval", "T", "é", "a\x00b", "\ud800", "a" * 900, "0", "-1", "..",
        "",
    ],
)  # fmt: skip
def test_a_module_of_any_name_is_rebuilt_or_refused(name: str, small: Path, tmp_path: Path) -> None:
    def rename(document: Document) -> None:
        for node in nodes(document):
            node["metadata"]["nn_module_stack"] = f"a,{name},torch.nn.modules.activation.ReLU"

    inputs = torch.randn(2, 4)
    expected = octet.load(small).module()(inputs)
    path = changed(small, tmp_path / "named.pt2", MODEL, rename)
    try:
        module = octet.load(path).module()
    except OctetError:
        return
    assert torch.equal(module(inputs), expected)


@pytest.mark.parametrize("name", ["torch", "print", "getattr", "inf", "device", "relu", "layer", "_weight_0", "mul"])
def test_an_input_of_any_name_is_taken_or_refused(name: str, small: Path, tmp_path: Path) -> None:
    inputs = torch.randn(2, 4)
    expected = octet.load(small).module()(inputs)
    content = entries(small)
    content[MODEL] = content[MODEL].replace(b'"x"', json.dumps(name).encode())
    path = write(tmp_path / "named.pt2", content)
    try:
        module = octet.load(path).module()
    except OctetError:
        return
    assert torch.equal(module(inputs), expected)


def test_a_power_in_a_size_is_never_worked_out(small: Path, tmp_path: Path) -> None:
    content = entries(small)
    content[MODEL] = content[MODEL].replace(b"Symbol('s", b"10**10**10**10 + Symbol('s")
    assert b"10**10**10" in content[MODEL]
    assert octet.load(write(tmp_path / "power.pt2", content)).inputs[0].shape == ("batch", 4)


def test_an_object_of_a_class_is_refused(small: Path, tmp_path: Path) -> None:
    def add(document: Document) -> None:
        spec = {"custom_obj": {"arg": {"name": "o", "class_fqn": "os.system"}, "custom_obj_name": "o"}}
        document["graph_module"]["signature"]["input_specs"].append(spec)

    with pytest.raises(InvalidModelError, match="custom obj"):
        octet.load(changed(small, tmp_path / "object.pt2", MODEL, add))


# Weights.


def _weight(**parts: Any) -> Callable[[Document], None]:
    return lambda config: config["config"]["scale"]["tensor_meta"].update(parts)


@pytest.mark.parametrize(
    "sizes", [[2**62], [2**31, 2**31], [2**62, 2**62, 2**62], [0, 2**62, 2**62], [10**400], [-1], [10**9]]
)
def test_a_weight_that_repeats_itself_without_end_is_refused(sizes: list[int], small: Path, tmp_path: Path) -> None:
    form = {"sizes": [{"as_int": size} for size in sizes], "strides": [{"as_int": 0} for _ in sizes]}
    path = changed(small, tmp_path / "config.pt2", WEIGHTS_CONFIG, _weight(**form))

    def same(document: Document) -> None:
        specs = document["graph_module"]["signature"]["input_specs"]
        name = next(
            s["parameter"]["arg"]["name"] for s in specs if s.get("parameter", {}).get("parameter_name") == "scale"
        )
        document["graph_module"]["graph"]["tensor_values"][name].update(form)

    with pytest.raises(InvalidModelError):
        octet.load(changed(path, tmp_path / "both.pt2", MODEL, same)).module()


def test_bytes_that_are_integers_to_one_weight_are_still_checked_as_those_of_another(
    small: Path, tmp_path: Path
) -> None:
    content = entries(small)
    config = json.loads(content[WEIGHTS_CONFIG])
    path = config["config"]["scale"]["path_name"]
    config["config"]["table"]["path_name"] = path
    content[WEIGHTS_CONFIG] = json.dumps(config).encode()
    content[f"model/data/weights/{path}"] = b"\xff" * 16
    with pytest.raises(InvalidModelError, match="'scale' holds 4 NaN values"):
        octet.load(write(tmp_path / "nan.pt2", content))


@pytest.mark.parametrize("how", ["shorter", "replaced", "written to"])
def test_a_file_that_changed_since_it_was_read_is_not_mapped(how: str, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(small.read_bytes())
    program = octet.load(path)
    if how == "shorter":
        os.truncate(path, 1000)
    elif how == "replaced":
        path.unlink()
        path.write_bytes(small.read_bytes())
    else:
        status = path.stat()
        path.write_bytes(small.read_bytes())
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(InvalidArchiveError, match="has changed since it was read"):
        program.module()


# The archive itself.


def _before(data: bytes) -> bytes:
    return b"#!/bin/sh\n" + data


def _end_in_the_comment(data: bytes) -> bytes:
    end = data[-22:]
    return data[:-22] + end[:20] + len(end).to_bytes(2, "little") + end


def _more_entries_than_there_are(data: bytes) -> bytes:
    return data[:-12] + b"\xfe\xff" + data[-10:]


def _directory_of_4_gib(data: bytes) -> bytes:
    return data[:-10] + b"\xfe\xff\xff\xff" + data[-6:]


def _lying_zip64(data: bytes) -> bytes:
    return data.replace(b"PK\x06\x06", b"PK\x05\x05")[:-10] + b"\xff" * 8 + data[-2:]


ARCHIVES: dict[str, Callable[[bytes], bytes]] = {
    "bytes before the archive": _before,
    "more entries than there are": _more_entries_than_there_are,
    "a directory of 4 GiB": _directory_of_4_gib,
    "a 64-bit end that is not there": _lying_zip64,
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_lies_about_itself_is_refused(what: str, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "lie.pt2"
    path.write_bytes(ARCHIVES[what](small.read_bytes()))
    with pytest.raises(OctetError):
        octet.load(path)


def test_an_end_in_the_comment_of_the_end_cannot_smuggle_in_another_model(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "comment.pt2"
    path.write_bytes(_end_in_the_comment(small.read_bytes()))
    assert octet.load(path).spec == octet.load(small).spec


def test_a_link_in_the_archive_is_bytes_like_all_else(small: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "link.pt2", entries(small))
    link = zipfile.ZipInfo("model/data/weights/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("model/data/folder/", "")
    program = octet.load(path)
    program.module()
    assert program.spec == octet.load(small).spec

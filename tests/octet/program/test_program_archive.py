"""The archive is read without being trusted."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pt2 import MODEL, entries, write

import octet
from octet.errors import InvalidArchiveError, OctetError
from octet.program.pt2.archive import PIECE_BYTES, Directory

if TYPE_CHECKING:
    from pathlib import Path


def test_records_hold_the_bytes_that_were_written(tmp_path: Path) -> None:
    content = {"a/empty": b"", "a/small": b"abc", "a/large": bytes(range(256)) * (PIECE_BYTES // 128)}
    archive = Directory.read(write(tmp_path / "any.zip", content)).archive()
    assert {name: archive.read(name, limit=2**24) for name in archive.records} == content
    assert max(len(piece) for piece in archive.pieces(archive.record("a/large"))) == PIECE_BYTES


def test_a_file_cut_anywhere_is_refused(resnet_pt2: Path, tmp_path: Path) -> None:
    data = resnet_pt2.read_bytes()
    path = tmp_path / "cut.pt2"
    cuts = {*range(4, 200, 7), *range(200, len(data), len(data) // 60), *range(len(data) - 120, len(data))}
    for cut in sorted(cuts):
        path.write_bytes(data[:cut])
        with pytest.raises(InvalidArchiveError, match="truncated"):
            octet.load(path)


def test_bytes_after_the_end_are_refused(resnet_pt2: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.pt2"
    path.write_bytes(resnet_pt2.read_bytes() + b"more")
    with pytest.raises(InvalidArchiveError):
        octet.load(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_gives_one_of_our_errors_or_the_same_program(
    resnet_pt2: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = bytearray(resnet_pt2.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    path = tmp_path / "damaged.pt2"
    path.write_bytes(whole)
    try:
        program = octet.load(path)
    except OctetError:
        return
    assert program.spec == octet.load(resnet_pt2).spec


def test_a_flipped_bit_in_a_weight_is_found(resnet_pt2: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(resnet_pt2) as archive:
        info = next(info for info in archive.infolist() if info.filename.endswith("weight_0"))
    data = bytearray(resnet_pt2.read_bytes())
    data[info.header_offset + 300] ^= 1
    path = tmp_path / "flipped.pt2"
    path.write_bytes(data)
    with pytest.raises(InvalidArchiveError, match="checksum"):
        octet.load(path)


def test_compressed_entries_are_refused(resnet_pt2: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "packed.pt2", entries(resnet_pt2), zipfile.ZIP_DEFLATED)
    with pytest.raises(InvalidArchiveError, match="compressed"):
        octet.load(path)


@pytest.mark.parametrize("name", ["model/../../etc/passwd", "/etc/passwd", "model/a\\b", "model//a", "model/\x07bell"])
def test_an_entry_with_an_unsafe_name_is_refused(name: str, resnet_pt2: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "unsafe.pt2", {**entries(resnet_pt2), name: b"x"})
    with pytest.raises(InvalidArchiveError, match="unsafe name"):
        octet.load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(resnet_pt2: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "twice.pt2", entries(resnet_pt2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MODEL, b"{}")
    with pytest.raises(InvalidArchiveError, match="two entries"):
        octet.load(path)


def test_entries_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "overlap.zip", {"a/one": b"x" * 100, "a/two": b"y" * 10})
    with zipfile.ZipFile(path) as archive:
        two = archive.getinfo("a/two")
    data = path.read_bytes()
    at = data.index(b"PK\x01\x02")  # the directory's first entry: its size grows over the second one's header
    grown = (200).to_bytes(4, "little")
    path.write_bytes(data[: at + 20] + grown + grown + data[at + 28 :])
    assert two.header_offset < 200
    with pytest.raises(InvalidArchiveError, match="overlaps"):
        Directory.read(path).archive()


def test_a_big_endian_archive_is_refused(resnet_pt2: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "big.pt2", {**entries(resnet_pt2), "model/byteorder": b"big"})
    with pytest.raises(InvalidArchiveError, match="byteorder"):
        octet.load(path)


def test_a_missing_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidArchiveError, match="No such file"):
        octet.load(tmp_path / "nothing.pt2")


def test_the_64_bit_form_of_large_archives_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50)  # what is larger is written as if it were over 4 GiB
    content = {"a/one": b"x" * 100, "a/two": b"y" * 10, "a/three": b"z" * 60}
    path = write(tmp_path / "wide.zip", content)
    assert b"PK\x06\x06" in path.read_bytes()
    archive = Directory.read(path).archive()
    assert {name: archive.read(name, limit=1000) for name in archive.records} == content

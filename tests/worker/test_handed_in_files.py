"""What a job's process may hand in, and what the worker does not even open."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from octet.manifest import Manifest, facts_of
from octet.recipe import Recipe
from worker.artifacts import MEDIA_TYPES, BadOutputError, collect, open_plain, read_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _another_name_for(path: Path, text: str) -> None:
    path.with_suffix(".other").write_text(text)
    path.hardlink_to(path.with_suffix(".other"))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """What a job that did nothing would leave, by its own account."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name in set(MEDIA_TYPES) - {"manifest.json"}:
        (folder / name).write_text("{}")
    manifest = Manifest(
        octet_version="1",
        torch_version="2",
        engine="x86",
        reduce_range=False,
        cpu_flags=(),
        threads=1,
        tolerance=0.0,
        inputs=(),
        outputs=(),
        recipe=Recipe(),
        files={path.name: facts_of(path) for path in folder.iterdir()},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def test_what_the_manifest_says_is_collected(output: Path) -> None:
    assert {name for name, _, _ in collect(output, limit=2**20)} == set(MEDIA_TYPES)


def test_a_file_that_is_not_the_manifests_is_refused(output: Path) -> None:
    (output / "model.pt").write_text("[]")
    with pytest.raises(BadOutputError, match="about other files"):
        collect(output, limit=2**20)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"format": 1}', "\x00", " " * (33 * 2**20)])
def test_a_manifest_that_is_none_is_refused(output: Path, text: str) -> None:
    (output / "manifest.json").write_text(text)
    with pytest.raises(BadOutputError, match="manifest"):
        collect(output, limit=2**30)


def test_a_million_mistakes_take_next_to_no_memory(output: Path) -> None:
    code = "import sys; from pathlib import Path; from worker.artifacts import BadOutputError, read_report\n"
    code += "try: read_report(Path(sys.argv[1]), model_sha256='')\n"
    # The peak of this process alone: ru_maxrss begins with that of the tests, which started it.
    code += "except BadOutputError: print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    for values in ("0," * 400_000 + "0", "0," * 2_000_000 + "0"):
        (output / "report.json").write_text(f'{{"layers":[{values}]}}')
        done = subprocess.run([sys.executable, "-c", code, output], stdout=subprocess.PIPE, check=True)
        assert int(done.stdout) < 512 * 2**10  # KiB


def test_a_directory_by_another_name_is_not_looked_into(output: Path) -> None:
    link = output.with_name("link")
    link.symlink_to(output)
    with pytest.raises(BadOutputError, match="not a directory"):
        collect(link, limit=2**20)


def test_a_report_that_is_none_is_refused(output: Path) -> None:
    with pytest.raises(BadOutputError, match="report"):
        read_report(output, model_sha256="")


def test_a_plain_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"12345")
    with open_plain(tmp_path / "model.pt", limit=5) as file:
        assert file.read() == b"12345"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "left no"),
        (lambda path: path.symlink_to("/etc/hostname"), "not a plain file"),
        (lambda path: _another_name_for(path, "12345"), "not a plain file"),
        (os.mkfifo, "not a plain file"),
        (lambda path: path.mkdir(), "not a plain file"),
        (lambda path: path.write_bytes(b"123456"), "has 6 bytes; 5 are allowed"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path / "model.pt")
    with pytest.raises(BadOutputError, match=words):
        open_plain(tmp_path / "model.pt", limit=5)

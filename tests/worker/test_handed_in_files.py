"""What a job's process may hand in, and what the worker does not even open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from worker.artifacts import BadOutputError, open_plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_plain_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"12345")
    with open_plain(tmp_path / "model.pt", limit=5) as file:
        assert file.read() == b"12345"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "left no"),
        (lambda path: path.symlink_to("/etc/hostname"), "not a plain file"),
        (os.mkfifo, "not a plain file"),
        (lambda path: path.mkdir(), "not a plain file"),
        (lambda path: path.write_bytes(b"123456"), "has 6 bytes; 5 are allowed"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path / "model.pt")
    with pytest.raises(BadOutputError, match=words):
        open_plain(tmp_path / "model.pt", limit=5)

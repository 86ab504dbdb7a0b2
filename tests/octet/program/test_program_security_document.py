"""The page on hostile files names tests and sources that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TESTS = Path(__file__).parent


def test_every_file_that_it_names_is_there() -> None:
    named = re.findall(r"`((?:tests|octet|worker|bench)/[\w/]+(?:\.py|/))`", PAGE)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
    within = re.findall(r"`((?:pt2|reading|lowering|building)/[\w/]*(?:\.py)?)`", PAGE)
    assert within
    assert [name for name in within if not (ROOT / "octet" / "program" / name).exists()] == []


def test_every_test_that_it_names_is_there() -> None:
    files = set(re.findall(r"`(test_program_\w+\.py)", PAGE))
    assert {name for name in files if not (TESTS / name).exists()} == set()
    source = "".join(path.read_text(encoding="utf-8") for path in TESTS.glob("test_*.py"))
    parts = re.findall(r"`[^`]*?(?:::|…)(\w+)…?`", PAGE)
    assert parts
    assert [part for part in parts if not re.search(rf"def \w*{part}", source)] == []

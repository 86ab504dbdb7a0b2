from __future__ import annotations

from pathlib import Path

import pytest

from store.settings import Settings

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "operations.md"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"`OCTET_{name.upper()}`" in DOCUMENT.read_text(encoding="utf-8")

"""Strings that Postgres refuses are kept without the letters it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from store.tables import Model

if TYPE_CHECKING:
    from store.database import Database


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("größe 🜁 'quoted' \\u0000 \\", "größe 🜁 'quoted' \\u0000 \\"),
        ("a\0b", "a\ufffdb"),
        ("\\\0\\\\\0", "\\\ufffd\\\\\ufffd"),
        ("half \ud800 a pair", "half ? a pair"),
    ],
)
def test_text_and_json_are_kept(database: Database, given: str, kept: str) -> None:
    with database.begin() as session:
        session.add(Model(name=given, size=0, spec={given: [given, 1, None]}))
    with database.begin() as session:
        model = session.scalars(select(Model).where(Model.name == given)).one()
        assert (model.name, model.spec) == (kept, {kept: [kept, 1, None]})

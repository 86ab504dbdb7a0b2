"""Strings as Postgres can keep them.

Names, messages and layer paths come out of files and processes that nobody vouches for. Postgres refuses NUL and half a
surrogate pair, in text as in JSON; refusing a whole job over such a letter would help nobody, so it is replaced.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sqlalchemy import Dialect, String
from sqlalchemy.types import TypeDecorator

_NUL_IN_JSON = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class Text(TypeDecorator[str]):
    """A string of any length."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's own
        """What goes to the database."""
        return None if value is None else _encodable(value.replace("\0", "\ufffd"))


def to_json(value: Any) -> str:
    """A value as JSON that the type `jsonb` takes."""
    return _encodable(_NUL_IN_JSON.sub(r"\1\\ufffd", json.dumps(value, ensure_ascii=False)))


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()

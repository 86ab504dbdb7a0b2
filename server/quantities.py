"""What people write on a command line: quantities with their units, scopes."""

from __future__ import annotations

import re
from datetime import timedelta

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError

from store.keys import SCOPES

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(rf"([1-9]\d{{0,5}})([{''.join(_UNITS)}])")


def duration(text: str) -> timedelta:
    """`90d`, `12h`: a whole number of seconds, minutes, hours, days or weeks."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 30m, 12h, 90d or 4w.")
    number, unit = found.groups()
    return timedelta(**{_UNITS[unit]: int(number)})


def size(text: str) -> int:
    """Bytes: `50GB` (10^9), `50GiB` (2^30), or a plain number."""
    try:
        return int(TypeAdapter(ByteSize).validate_python(text.strip()))
    except ValidationError:
        raise typer.BadParameter(f"{text!r} is no size; write 500MB, 50GB or 2GiB.") from None


def scope_name(text: str) -> str:
    """What a key may be for."""
    if text not in SCOPES:
        raise typer.BadParameter(f"{text!r} is none; there are {', '.join(SCOPES)}.")
    return text

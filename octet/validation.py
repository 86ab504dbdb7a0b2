"""Turns pydantic's findings into ours: a JSON pointer, a sentence, and the nearest known key."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from octet.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import ValidationError

_UNKNOWN = "extra_forbidden"


def field_errors(error: ValidationError, model: type[BaseModel], at: str = "") -> tuple[FieldError, ...]:
    """One `FieldError` for each finding of `error`; `at` is the pointer of the document validated."""
    return describe(error.errors(include_url=False), model, at)


def describe(findings: Iterable[Any], model: type[BaseModel], at: str = "") -> tuple[FieldError, ...]:
    """The same from pydantic's list of findings, whose places are relative to `model`.

    Unknown keys come first: one that is misspelt is the reason why another is missing.
    """
    unknown_first = sorted(findings, key=lambda finding: finding["type"] != _UNKNOWN)
    return tuple(_field_error(finding, model, at) for finding in unknown_first)


def pointer(location: Iterable[int | str]) -> str:
    """An RFC 6901 JSON pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _field_error(finding: Any, model: type[BaseModel], at: str) -> FieldError:
    location: tuple[int | str, ...] = finding["loc"]
    path = at + pointer(location)
    if finding["type"] == _UNKNOWN:
        key = str(location[-1])
        known = _keys_at(model, location[:-1])
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(known)}."
        return FieldError(path, f"unknown key {key!r}", hint)
    message = str(finding["msg"]).removeprefix("Value error, ")
    value = finding.get("input")
    if finding["type"] in {"literal_error", "enum"} and isinstance(value, str):
        message = f"{value!r} is not known; {message[0].lower()}{message[1:]}"
    return FieldError(path, message)


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that `model` knows at `location`."""
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        nested = next(_models_in(field.annotation), None) if field else None
        if nested is None:
            return []
        model = nested
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)

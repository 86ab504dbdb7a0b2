"""Turns pydantic's findings into ours: a JSON pointer, a sentence, and the nearest known key."""

from __future__ import annotations

import difflib
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from pydantic import BaseModel

from octet.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import ValidationError

_UNKNOWN = "extra_forbidden"
_KEY = "[key]"  # how pydantic says that it is about a key, not about the value there


def field_errors(error: ValidationError, model: type[BaseModel], at: str = "") -> tuple[FieldError, ...]:
    """One `FieldError` for each finding of `error`; `at` is the pointer of the document validated."""
    return describe(error.errors(include_url=False), model, at)


def describe(findings: Iterable[Any], model: type[BaseModel], at: str = "") -> tuple[FieldError, ...]:
    """The same from pydantic's list of findings, whose places are relative to `model`.

    Unknown keys come first: one that is misspelt is the reason why another is missing.
    """
    unknown_first = sorted(findings, key=lambda finding: finding["type"] != _UNKNOWN)
    found: dict[tuple[int | str, ...], list[FieldError]] = {}
    for finding in unknown_first:
        field, place = _place(model, finding["loc"])
        found.setdefault(field, []).append(_field_error({**finding, "loc": place}, model, at))
    return tuple(error for errors in found.values() for error in _as_one(errors))


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


def _place(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], ...]:
    """Where in the document a finding is: the field that can be of several types, or the place itself, and the place.

    Among several types, pydantic says in the location which of them it is about: that is no part of the document.
    """
    place: tuple[int | str, ...] = ()
    field = None
    annotation: Any = model
    for part in location:
        options = _options(annotation)
        if part == _KEY:
            continue
        if len(options) > 1:
            field = field or place
            annotation = next((option for option in options if get_origin(option) is dict), None)
            continue
        place = (*place, part)
        annotation = _type_at(options[0], part)
    return field or place, place


def _options(annotation: Any) -> list[Any]:
    """The types that a value may have; that there may be none at all is no type."""
    if get_origin(annotation) not in {Union, UnionType}:
        return [annotation]
    return [option for option in get_args(annotation) if option is not NoneType]


def _type_at(annotation: Any, part: int | str) -> Any:
    """The type of what is found under `part` in a value of type `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return field.annotation if field else None
    return next(iter(get_args(annotation)), None) if isinstance(part, int) else None


def _as_one(errors: list[FieldError]) -> Iterator[FieldError]:
    """What is wrong with a value of several types: by the type that fits best, or by all of them where none does."""
    deepest = max(len(error.pointer) for error in errors)
    near = [error for error in errors if len(error.pointer) == deepest]
    if len(near) == len(errors):
        yield FieldError(near[0].pointer, "; or ".join(error.message for error in near), near[0].hint)
    else:
        yield from near


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

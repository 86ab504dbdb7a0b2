"""A recipe's rules held against a model's layers: which rule decides about a layer, and which rules match none.

Free of torch: a job's rules are checked when it is submitted, and again when it is done.
"""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from octet.errors import FieldError, InvalidRecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from octet.recipe import LayerRule, Recipe
    from octet.spec import ProgramSpec

_MOST_HINTS = 10  # looking for what is near takes a thousand times as long as looking for what matches


def rule_of(name: str, type_name: str, recipe: Recipe) -> LayerRule | None:
    """The rule of `recipe` that decides about the layer of that type that its author called `name`: the first match."""
    return next((rule for rule in recipe.layers if _matches(rule, name, type_name)), None)


def unmatched_rules(recipe: Recipe, layers: Mapping[str, str]) -> tuple[FieldError, ...]:
    """What is to be said of each rule that matches none of `layers`, types by name; to a few of them, what is near."""
    unmatched = [
        (position, rule)
        for position, rule in enumerate(recipe.layers)
        if not any(_matches(rule, name, kind) for name, kind in layers.items())
    ]
    few = [_unmatched(position, rule, layers) for position, rule in unmatched[:_MOST_HINTS]]
    return (*few, *(_unmatched(position, rule, {}) for position, rule in unmatched[_MOST_HINTS:]))


def check_rules(recipe: Recipe, spec: ProgramSpec, at: str = "") -> None:
    """Refuses a strict recipe that has a rule for no layer of the model.

    Args:
        recipe: What to do.
        spec: The model.
        at: JSON pointer to the recipe in the document that it is part of.

    Raises:
        InvalidRecipeError: With one entry in `errors` for each such rule.
    """
    if not recipe.strict:
        return
    found = unmatched_rules(recipe, {layer.name: layer.type for layer in spec.layers})
    if found:
        errors = [FieldError(at + each.pointer, each.message, each.hint) for each in found]
        raise InvalidRecipeError(f"The recipe is strict, and {found[0].message}.", hint=found[0].hint, errors=errors)


def _matches(rule: LayerRule, name: str, type_name: str) -> bool:
    return (rule.name is None or fnmatchcase(name, rule.name)) and rule.type in {None, type_name}


def _unmatched(position: int, rule: LayerRule, layers: Mapping[str, str]) -> FieldError:
    near = difflib.get_close_matches(rule.name or "", layers, n=3)
    near += difflib.get_close_matches(rule.type or "", set(layers.values()), n=3)
    wanted = " ".join(f"{key} {value!r}" for key, value in (("name", rule.name), ("type", rule.type)) if value)
    message = f"the rule layers/{position} ({wanted}) matches no layer"
    return FieldError(f"/layers/{position}", message, f"Near: {', '.join(near)}." if near else None)

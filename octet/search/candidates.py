"""What can be tried: recipes made of the one that asks for a search."""

from __future__ import annotations

import glob
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from octet.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octet.recipe import Int8Method


@dataclass(frozen=True)
class Change:
    """Something else that may keep a model accurate.

    Attributes:
        about: What it changes; another change of the same takes its place.
        what: In a few words.
        sections: Keys of the recipe, by section.
    """

    about: str
    what: str
    sections: dict[str, dict[str, Any]]


CHANGES = (
    Change("ranges", "ranges of least error", {name: {"observer": "mse"} for name in ("activations", "weights")}),
    Change("ranges", "ranges that clip nothing", {name: {"observer": "minmax"} for name in ("activations", "weights")}),
    Change("repairs", "repaired", {"repairs": {"equalize": True, "correct_bias": True, "clip_weights": True}}),
)
"""In the order in which they are tried."""


@dataclass(frozen=True)
class Candidate:
    """A model that can be tried.

    Attributes:
        recipe: The recipe that makes it; it searches no further.
        changes: What is different from the recipe that was asked for, by what it is about.
        float_layers: Layers that the search leaves in float, apart from those that the user's rules do.
    """

    recipe: Recipe
    changes: dict[str, str] = field(default_factory=dict)
    float_layers: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """This candidate in a few words."""
        count = len(self.float_layers)
        in_float = (f"{count} {'layer' if count == 1 else 'layers'} in float",) if count else ()
        return ", ".join((self.recipe.method, *self.changes.values(), *in_float))

    def but(self, change: Change) -> Candidate:
        """This with `change`."""
        document = self.recipe.model_dump()
        changed = {name: document[name] | keys for name, keys in change.sections.items()}
        return replace(
            self, recipe=Recipe.parse(document | changed), changes=self.changes | {change.about: change.what}
        )

    def leaving_in_float(self, layers: Sequence[str]) -> Candidate:
        """This with `layers` in float; the user's own rules go before."""
        document = self.recipe.model_dump()
        rules = [{"name": glob.escape(layer), "method": "float"} for layer in layers]
        recipe = Recipe.parse(document | {"layers": (*document["layers"], *rules)})
        return replace(self, recipe=recipe, float_layers=tuple(layers))

    def trained(self) -> Candidate:
        """This by quantization-aware training instead."""
        return replace(self, recipe=_with_method(self.recipe, "qat"))


def candidate(recipe: Recipe, method: Int8Method) -> Candidate:
    """The model that `recipe` makes with this method for all layers that no rule names."""
    return Candidate(_with_method(recipe, method))


def _with_method(recipe: Recipe, method: Int8Method) -> Recipe:
    document = recipe.model_dump()
    if method == "qat":  # there, the kernels of `static` are trained
        for rule in document["layers"]:
            rule["method"] = "qat" if rule["method"] == "static" else rule["method"]
    return Recipe.parse(document | {"method": method})

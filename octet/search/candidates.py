"""What can be tried: recipes made of the one that asks for a search."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from octet.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octet.recipe import Int8Method

Sections = dict[str, dict[str, Any]]

OBSERVERS: tuple[tuple[str, Sections], ...] = (
    ("ranges of least squared error", {"activations": {"observer": "mse"}, "weights": {"observer": "mse"}}),
    ("ranges that clip nothing", {"activations": {"observer": "minmax"}, "weights": {"observer": "minmax"}}),
)
"""Other ways to find ranges, with what to call them."""

REPAIRS: Sections = {"repairs": {"equalize": True, "correct_bias": True, "clip_weights": True}}


@dataclass(frozen=True)
class Candidate:
    """A model that can be tried.

    Attributes:
        what: In a few words.
        recipe: The recipe that makes it; it searches no further.
        float_layers: Layers that the search leaves in float, apart from those that the user's rules do.
    """

    what: str
    recipe: Recipe
    float_layers: tuple[str, ...] = ()

    def but(self, what: str, sections: Sections) -> Candidate:
        """This with some keys of some sections changed."""
        document = self.recipe.model_dump()
        changed = {name: document[name] | keys for name, keys in sections.items()}
        return Candidate(f"{self.what}, {what}", Recipe.parse(document | changed), self.float_layers)

    def leaving_in_float(self, layers: Sequence[str]) -> Candidate:
        """This with `layers` in float; the user's own rules go before."""
        document = self.recipe.model_dump()
        rules = [{"name": glob.escape(layer), "method": "float"} for layer in layers]
        recipe = Recipe.parse(document | {"layers": (*document["layers"], *rules)})
        plural = "layer" if len(layers) == 1 else "layers"
        return Candidate(f"{self.what}, {len(layers)} {plural} in float", recipe, tuple(layers))

    def trained(self) -> Candidate:
        """This by quantization-aware training instead."""
        return Candidate(self.what.replace("static", "qat", 1), _with_method(self.recipe, "qat"), self.float_layers)


def candidate(recipe: Recipe, method: Int8Method) -> Candidate:
    """The model that `recipe` makes with this method for all layers that no rule names."""
    return Candidate(method, _with_method(recipe, method))


def _with_method(recipe: Recipe, method: Int8Method) -> Recipe:
    document = recipe.model_dump()
    if method == "qat":  # there, the kernels of `static` are trained
        for rule in document["layers"]:
            rule["method"] = "qat" if rule["method"] == "static" else rule["method"]
    return Recipe.parse(document | {"method": method})

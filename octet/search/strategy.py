"""The order in which models are tried: what keeps all layers in int8 first, float layers and training last.

Layers are left in float by bisection over a ranking of them, which takes a number of models that grows with the
logarithm of the number of layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from octet.search.candidates import CHANGES, Candidate, candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octet.recipe import Recipe
    from octet.search.choice import Measured

FOUND = "a model that leaves no layer in float for its accuracy is inside the budget"
EXHAUSTED = "there is nothing left to try"
SPENT = "no evaluation is left"


class Explore(Protocol):
    """What a search needs of those who make models."""

    def measure(self, candidate: Candidate) -> Measured | None:
        """Makes a model and measures it; None: it cannot be made."""

    def rank(self, candidate: Candidate) -> Sequence[str]:
        """The layers that may be left in float, those first whose rounding harms the model of `candidate` most."""

    @property
    def left(self) -> int:
        """How many more models may be made."""


def explore(recipe: Recipe, models: Explore) -> str:
    """Tries models until one with every layer in int8 is inside the budget, or there is nothing left to try.

    Args:
        recipe: Says where to start from, and whether training is allowed.
        models: Makes them, remembers them, and ends the search early by an exception if it must.

    Returns:
        Why it is over.
    """
    spare = 1 if recipe.auto.qat else 0
    static = candidate(recipe, "static")
    plain = models.measure(static)
    models.measure(candidate(recipe, "dynamic"))
    if plain is not None and plain.within:
        return FOUND
    best, found = _mend(static, plain, models, spare)
    if found is not None and found.within:
        return FOUND
    if models.left > spare:
        _bisect(best, models, spare)
    if recipe.auto.qat:
        models.measure(static.trained())
    return EXHAUSTED if models.left > 0 else SPENT


def _mend(start: Candidate, found: Measured | None, models: Explore, spare: int) -> tuple[Candidate, Measured | None]:
    """The most accurate of what keeps every layer in int8, or the first that is inside the budget."""
    best = start
    for change in CHANGES:
        other = best.but(change)
        if other.recipe == best.recipe or models.left <= spare:
            continue
        measured = models.measure(other)
        if measured is not None and (found is None or measured.loss < found.loss):
            best, found = other, measured
        if found is not None and found.within:
            break
    return best, found


def _bisect(start: Candidate, models: Explore, spare: int) -> None:
    """Looks for the least number of layers in float, the most sensitive first, that is inside the budget."""
    ranking = models.rank(start)
    outside, inside = 0, len(ranking)
    while inside - outside > 1 and models.left > spare:
        middle = (outside + inside) // 2
        measured = models.measure(start.leaving_in_float(ranking[:middle]))
        if measured is not None and measured.within:
            inside = middle
        else:
            outside = middle

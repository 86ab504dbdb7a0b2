"""The order in which models are tried: what keeps all layers in int8 first, float layers and training last.

Layers are left in float by bisection over a ranking of them, which takes a number of models that grows with the
logarithm of the number of layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from octet.search.candidates import OBSERVERS, REPAIRS, Candidate, candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octet.recipe import Recipe
    from octet.search.choice import Measured


class Explore(Protocol):
    """What a search needs of those who make models."""

    def measure(self, candidate: Candidate) -> Measured | None:
        """Makes a model and measures it; None: it cannot be made."""

    def rank(self, candidate: Candidate) -> Sequence[str]:
        """The layers that `candidate` quantizes, those first whose rounding harms the model most."""

    @property
    def left(self) -> int:
        """How many more models may be made."""


def explore(recipe: Recipe, models: Explore) -> None:
    """Tries models until one with every layer in int8 is inside the budget, or there is nothing left to try.

    Args:
        recipe: Says where to start from, and whether training is allowed.
        models: Makes them, remembers them, and ends the search early by an exception if it must.
    """
    static = candidate(recipe, "static")
    plain = models.measure(static)
    models.measure(candidate(recipe, "dynamic"))
    if plain is not None and plain.within:
        return
    best, found = _mend(static, plain, models)
    if found is not None and found.within:
        return
    _bisect(best, models, spare=1 if recipe.auto.qat else 0)
    if recipe.auto.qat:
        models.measure(static.trained())


def _mend(start: Candidate, found: Measured | None, models: Explore) -> tuple[Candidate, Measured | None]:
    """The most accurate of what keeps every layer in int8: other ranges, then repairs; the first inside the budget."""
    best = start
    for what, sections in OBSERVERS:
        best, found = _improved(best, found, start.but(what, sections), models)
        if found is not None and found.within:
            return best, found
    return _improved(best, found, best.but("repaired", REPAIRS), models)


def _improved(
    best: Candidate, found: Measured | None, other: Candidate, models: Explore
) -> tuple[Candidate, Measured | None]:
    if other.recipe == best.recipe:
        return best, found
    measured = models.measure(other)
    improves = measured is not None and (found is None or measured.loss < found.loss)
    return (other, measured) if improves else (best, found)


def _bisect(start: Candidate, models: Explore, *, spare: int) -> None:
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

"""The strategy alone, in landscapes that say how accurate and how fast each candidate would be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from octet.recipe import Recipe
from octet.search import Candidate, Measured, explore

if TYPE_CHECKING:
    from collections.abc import Callable

LAYERS = tuple(f"layer.{number}" for number in range(50))
BUDGET = 0.01


@dataclass
class Landscape:
    """Gives every candidate a loss; each layer in float makes the model slower."""

    loss: Callable[[Candidate], float | None]
    evaluations: int = 12
    tried: list[Candidate] = field(default_factory=list)
    ranked: list[Candidate] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.evaluations - len(self.tried)

    def measure(self, candidate: Candidate) -> Measured | None:
        self.tried.append(candidate)
        loss = self.loss(candidate)
        speedup = 4 - 3 * len(candidate.float_layers) / len(LAYERS)
        return None if loss is None else Measured(loss, speedup, loss <= BUDGET)

    def rank(self, candidate: Candidate) -> tuple[str, ...]:
        self.ranked.append(candidate)
        return LAYERS


def recipe(**sections: object) -> Recipe:
    return Recipe.parse({"method": "auto", **sections})


def tried(landscape: Landscape) -> list[str]:
    return [candidate.what for candidate in landscape.tried]


def needs_in_float(count: int) -> Callable[[Candidate], float]:
    """Inside the budget from `count` layers in float on, and nothing else helps."""
    return lambda candidate: 0.0 if len(candidate.float_layers) >= count else 0.5


def test_a_model_that_plain_static_keeps_accurate_takes_two_evaluations() -> None:
    landscape = Landscape(lambda _: 0.0)
    explore(recipe(), landscape)
    assert tried(landscape) == ["static", "dynamic"]


def test_other_ranges_are_tried_before_repairs_and_those_before_float_layers() -> None:
    landscape = Landscape(needs_in_float(1))
    explore(recipe(), landscape)
    assert tried(landscape)[:5] == [
        "static",
        "dynamic",
        "static, ranges of least error",
        "static, ranges that clip nothing",
        "static, repaired",
    ]


def test_the_search_ends_with_the_first_change_that_meets_the_budget() -> None:
    landscape = Landscape(lambda candidate: 0.0 if candidate.recipe.repairs.equalize else 0.5)
    explore(recipe(), landscape)
    assert tried(landscape)[-1].endswith("repaired")
    assert not landscape.ranked


def test_repairs_and_float_layers_build_on_the_ranges_that_were_best() -> None:
    landscape = Landscape(lambda candidate: 0.3 if candidate.recipe.weights.observer == "mse" else 0.5)
    explore(recipe(), landscape)
    assert all(candidate.recipe.weights.observer == "mse" for candidate in landscape.tried[4:])


@pytest.mark.parametrize("count", [1, 2, 7, 25, 49])
def test_bisection_finds_the_least_number_of_float_layers(count: int) -> None:
    landscape = Landscape(needs_in_float(count))
    explore(recipe(), landscape)
    within = [len(candidate.float_layers) for candidate in landscape.tried if landscape.loss(candidate) == 0.0]
    assert min(within) == count
    assert len(landscape.tried) <= 5 + math.ceil(math.log2(len(LAYERS)))


def test_the_most_sensitive_layers_go_to_float_first_and_after_the_rules_of_the_user() -> None:
    landscape = Landscape(needs_in_float(1))
    explore(recipe(layers=[{"name": "head", "method": "dynamic"}]), landscape)
    last = landscape.tried[-1]
    assert last.float_layers == LAYERS[:1]
    assert [rule.name for rule in last.recipe.layers] == ["head", "layer.0"]


def test_a_layer_whose_name_looks_like_a_glob_is_matched_as_it_is() -> None:
    found = Candidate(recipe(method="static")).leaving_in_float(["blocks[0]"])
    assert found.recipe.layers[0].name == "blocks[[]0]"


def test_training_comes_last_and_only_if_it_is_allowed() -> None:
    without, trained = Landscape(needs_in_float(60)), Landscape(needs_in_float(60))
    explore(recipe(), without)
    explore(recipe(auto={"qat": True}, layers=[{"name": "a", "method": "static"}]), trained)
    assert all(candidate.recipe.method != "qat" for candidate in without.tried)
    assert [candidate.recipe.method for candidate in trained.tried].count("qat") == 1
    assert trained.tried[-1].what == "qat"
    assert trained.tried[-1].recipe.layers[0].method == "qat"


def test_an_evaluation_is_kept_back_for_training() -> None:
    landscape = Landscape(needs_in_float(60), evaluations=7)
    explore(recipe(auto={"qat": True}), landscape)
    assert len(landscape.tried) == 7
    assert landscape.tried[-1].recipe.method == "qat"


def test_a_model_that_cannot_be_made_does_not_end_the_search() -> None:
    landscape = Landscape(lambda candidate: None if candidate.what == "static" else 0.0)
    explore(recipe(), landscape)
    assert tried(landscape) == ["static", "dynamic", "static, ranges of least error"]


def test_what_the_recipe_says_already_is_not_tried_twice() -> None:
    landscape = Landscape(needs_in_float(60))
    explore(recipe(activations={"observer": "minmax"}), landscape)
    assert "static, ranges that clip nothing" not in tried(landscape)
    assert len({candidate.recipe.canonical() for candidate in landscape.tried}) == len(landscape.tried)

from __future__ import annotations

from octet.search import Measured, better, on_pareto_front


def test_any_model_is_better_than_none() -> None:
    assert better(Measured(loss=0.5, speedup=1.0, within=False), None)


def test_inside_the_budget_the_faster_is_kept() -> None:
    assert better(Measured(0.004, 3.0, within=True), Measured(0.001, 2.0, within=True))
    assert better(Measured(0.004, 1.0, within=True), Measured(0.02, 4.0, within=False))


def test_outside_of_it_the_more_accurate_is_kept() -> None:
    assert better(Measured(0.02, 1.0, within=False), Measured(0.03, 4.0, within=False))


def test_the_pareto_front_has_what_nothing_else_beats_in_both() -> None:
    fast, accurate, beaten, equal = (
        Measured(0.02, 4.0, within=False),
        Measured(0.0, 2.0, within=True),
        Measured(0.03, 3.0, within=False),
        Measured(0.0, 2.0, within=True),
    )
    assert on_pareto_front([fast, accurate, beaten, equal]) == [True, True, False, True]

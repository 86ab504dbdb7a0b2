"""`method: auto` on real models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import octet
from octet.data.dataset import Dataset
from octet.errors import InvalidDatasetError
from octet.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from octet.report import Report


class Touchy(nn.Module):
    """Linear layers, of which one gets an input that eight bits hold badly: one feature is 10 times the others."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 32)
        self.touchy = nn.Linear(33, 32)
        self.rest = nn.Sequential(*(layer for _ in range(6) for layer in (nn.Linear(32, 32), nn.ReLU())))
        with torch.no_grad():
            self.touchy.weight[:, 32] = 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.stem(x))
        huge = 10 * x[:, :1].abs()
        return self.rest(self.touchy(torch.cat([hidden, huge], 1)))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> octet.Program:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("auto") / "touchy.pt2"
    octet.export(Touchy().eval(), (torch.randn(2, 8),), path)
    return octet.load(path)


def data(program: octet.Program, seed: int, *, labelled: bool = True) -> Dataset:
    """Samples, with the labels that fp32 gives them."""
    inputs = torch.randn(64, 8, generator=torch.Generator().manual_seed(seed))
    arrays = {"input_0": inputs.numpy()}
    if labelled:
        with torch.no_grad():
            arrays["label"] = program.module()(inputs).argmax(1).numpy()
    return Dataset(arrays)


@pytest.fixture(scope="module")
def searched(program: octet.Program) -> Callable[..., octet.Result]:
    def search(*, labelled: bool = True, **sections: Any) -> octet.Result:
        recipe = Recipe.parse({"method": "auto", "measure": {"seconds": 0.02, "threads": 1}, **sections})
        calibration, evaluation = (data(program, seed, labelled=labelled) for seed in (0, 1))
        return octet.quantize(program, recipe, calibration=calibration, evaluation=evaluation)

    return search


@pytest.fixture(scope="module")
def bisected(searched: Callable[..., octet.Result]) -> octet.Result:
    """Inside its budget only with layers in float: every other way loses more decibels."""
    return searched(gates={"min_sqnr_db": 52}, labelled=False)


def search_of(report: Report) -> octet.report.Search:
    assert report.search is not None
    return report.search


def test_layers_that_cost_the_accuracy_are_left_in_float(bisected: octet.Result) -> None:
    search = search_of(bisected.report)
    (chosen,) = [trial for trial in search.trials if trial.chosen]
    in_float = [layer for layer in bisected.report.layers if layer.method == "float"]
    assert search.met
    assert 1 <= chosen.float_layers == len(in_float) <= 4
    assert all(layer.reason == "the recipe says so" for layer in in_float)


def test_bisection_over_the_ranking_takes_fewer_models_than_there_are_layers(bisected: octet.Result) -> None:
    search = search_of(bisected.report)
    bisections = [trial for trial in search.trials if trial.float_layers]
    assert (search.layers, search.ranking_passes, len(bisections)) == (8, 8, 3)
    assert len(search.trials) == 8


def test_one_trial_is_kept_and_its_recipe_makes_the_same_model(bisected: octet.Result, program: octet.Program) -> None:
    (chosen,) = [trial for trial in search_of(bisected.report).trials if trial.chosen]
    again = octet.quantize(
        program,
        chosen.recipe,
        calibration=data(program, 0, labelled=False),
        evaluation=data(program, 1, labelled=False),
    )
    assert again.report.fidelity.sqnr_db == pytest.approx(chosen.sqnr_db)
    assert bisected.report.fidelity.sqnr_db == pytest.approx(chosen.sqnr_db)


def test_the_report_is_about_the_recipe_that_was_asked_for(bisected: octet.Result) -> None:
    assert bisected.report.recipe.method == "auto"
    assert bisected.report.verdict == "passes"
    assert any(trial.pareto for trial in search_of(bisected.report).trials)


def test_what_was_found_is_saved_and_verified_like_any_other(bisected: octet.Result, tmp_path: Any) -> None:
    bisected.save(tmp_path / "found")
    assert bisected.report.verification is not None


def test_a_budget_that_nothing_meets_gives_the_best_and_says_so(searched: Callable[..., octet.Result]) -> None:
    report = searched(gates={"min_sqnr_db": 200}, auto={"evaluations": 3}, labelled=False).report
    search = search_of(report)
    assert not search.met
    assert report.verdict == "fails"
    assert "No model met the budget: the most accurate was kept." in report.warnings
    assert search.stopped_by == "no evaluation is left"
    chosen = next(trial for trial in search.trials if trial.chosen)
    assert chosen.sqnr_db == max(trial.sqnr_db for trial in search.trials if trial.sqnr_db is not None)


def test_layers_with_a_rule_of_the_user_are_not_searched(searched: Callable[..., octet.Result]) -> None:
    rules = [{"name": "rest.*", "method": "static"}]
    search = search_of(searched(gates={"min_sqnr_db": 200}, layers=rules, labelled=False).report)
    added = {rule.name for trial in search.trials for rule in trial.recipe.layers[len(rules) :]}
    assert added
    assert added <= {"stem", "touchy"}


def test_no_trial_is_begun_that_would_end_too_late(searched: Callable[..., octet.Result]) -> None:
    search = search_of(searched(gates={"min_sqnr_db": 200}, auto={"seconds": 0.001}, labelled=False).report)
    assert len(search.trials) == 1
    assert search.stopped_by == "no time is left for another trial"


def test_labels_make_the_budget_one_of_accuracy(searched: Callable[..., octet.Result]) -> None:
    search = search_of(searched(gates={"max_accuracy_drop": 1.0}).report)
    assert [trial.what for trial in search.trials] == ["static", "dynamic"]
    assert all(trial.accuracy is not None for trial in search.trials)
    chosen = next(trial for trial in search.trials if trial.chosen)
    assert chosen.speedup == max(trial.speedup for trial in search.trials)


def test_training_is_the_last_resort_where_it_is_allowed(searched: Callable[..., octet.Result]) -> None:
    search = search_of(
        searched(gates={"min_sqnr_db": 200}, auto={"qat": True, "evaluations": 4}, training={"batch_size": 16}).report
    )
    assert [trial.recipe.method for trial in search.trials].count("qat") == 1
    assert search.trials[-1].recipe.method == "qat"


def test_a_budget_that_cannot_be_judged_is_refused_before_any_work(searched: Callable[..., octet.Result]) -> None:
    with pytest.raises(InvalidDatasetError, match="no budget to go by"):
        searched(labelled=False)

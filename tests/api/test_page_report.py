"""What the page shows of a report beyond its figures: layers, searches, trainings, simulations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browsing import BROWSER
from example_report import ANALYZED, SEARCHED, SIMULATED, TRAINED
from playwright.sync_api import Locator, Page, expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asking import Worker

    from octet.report import Report

pytestmark = BROWSER


@pytest.fixture
def shown(signed_in: Page, job: str, worker: Worker, tmp_path: Path) -> Callable[[Report], Page]:
    """Shows the page of a job that gave a report."""

    def show(report: Report) -> Page:
        artifact = tmp_path / "model.pt"
        artifact.write_bytes(b"int8")
        worker.start(job)
        worker.succeed(job, report, artifact)
        signed_in.evaluate(f"location.hash = '#/jobs/{job}'")
        expect(signed_in.get_by_role("heading", name="How it was measured")).to_be_visible()
        return signed_in

    return show


def rows(table: Locator) -> list[list[str]]:
    """The cells of a table, row by row."""
    return [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]


def table(page: Page, name: str) -> Locator:
    """The table of that name."""
    return page.get_by_role("region", name=name, exact=True)


def test_layers_are_in_the_order_of_the_model_and_can_be_ordered_by_any_column(
    shown: Callable[[Report], Page],
) -> None:
    layers = table(shown(ANALYZED), "Layers")
    expect(layers.locator("th")).to_have_count(12)
    first, *_, last = rows(layers)
    assert " ".join(first) == (
        "2 0 Linear static 40.1 33.0 33.0 0.13 % 42.0 % 31.0 % \N{MINUS SIGN}1.92 … 2.2 \N{MINUS SIGN}2.81 … 3.04"
    )
    assert last[1:5] == ["head\na rule of the recipe", "Embedding", "float", "\N{EN DASH}"]

    layers.get_by_role("button", name="Own, dB").click()
    expect(layers.get_by_role("columnheader", name="Own, dB")).to_have_attribute("aria-sort", "ascending")
    assert [row[0] for row in rows(layers)] == ["1", "2", "\N{EN DASH}"]
    layers.get_by_role("button", name="Own, dB").click()
    assert [row[0] for row in rows(layers)] == ["2", "1", "\N{EN DASH}"]


def test_sensitivity_is_drawn_and_told_in_tables(shown: Callable[[Report], Page]) -> None:
    page = shown(ANALYZED)
    assert rows(table(page, "Sensitivity")) == [["1", "2", "96.94 %", "30.1 dB"], ["2", "0", "97.22 %", "exact"]]
    assert [row[0] for row in rows(table(page, "Curve of layers in float"))] == ["0", "1", "2"]
    curve = page.get_by_role("img", name="Accuracy, % by the number of layers left in float")
    assert [circle.get_attribute("cx") for circle in curve.locator("circle").all()] == ["0%", "50%", "100%"]
    assert rows(table(page, "Fusions")) == [["0", "Linear + ReLU", "0, 1"]]
    assert rows(table(page, "Lone norms")) == [["norm", "BatchNorm2d", "its input is added to before it"]]


def test_trials_are_drawn_where_they_belong_with_their_front_and_the_kept_one(shown: Callable[[Report], Page]) -> None:
    page = shown(SEARCHED)
    expect(page.get_by_text("Inside the budget, after 5 models and 21 passes to rank layers")).to_be_visible()
    trials = rows(table(page, "Trials"))
    assert trials[0][1:5] == ["static", "0", "89.17 %", "8.05 %"]
    assert [row[-2:] for row in trials] == [
        ["missed", "Pareto"],
        ["inside", "Pareto"],
        ["missed", "Pareto"],
        ["missed", ""],
        ["inside", "Pareto"],
    ]
    drawing = page.get_by_role("img", name="Trials by speed and accuracy")
    assert drawing.locator(".tick").all_text_contents() == [
        *("87.5", "90.0", "92.5", "95.0", "97.5"),  # percent
        *("1", "2", "3", "4"),  # times as fast
        "budget",
    ]
    places = [
        (float(circle.get_attribute("cx")[:-1]), float(circle.get_attribute("cy")[:-1]))  # type: ignore[index] # it has
        for circle in drawing.locator("circle").all()
    ]
    assert places == [
        (pytest.approx(100 * (trial.speedup - 1) / 3), pytest.approx(100 * (0.975 - trial.accuracy) / 0.1))
        for trial in SEARCHED.search.trials
    ]
    expect(drawing.locator(".name").nth(3)).to_have_attribute("text-anchor", "end")  # the third is close to its right
    expect(drawing.locator("circle.chosen")).to_have_count(1)
    expect(drawing.locator("circle.outside")).to_have_count(3)
    expect(drawing.locator("line.stroke")).to_have_count(2 * 3)  # down and on from each of four to the next


def test_a_simulation_shows_the_worst_tensors_first_and_no_latency(shown: Callable[[Report], Page]) -> None:
    page = shown(SIMULATED)
    tensors = rows(table(page, "Simulated tensors"))
    assert tensors[0] == ["layers.7", "activation", "8", "3.20 %"]
    assert len(tensors) == 16
    expect(page.get_by_text("Latency")).to_have_count(0)


def test_a_training_shows_its_epochs_and_repairs_what_they_did(shown: Callable[[Report], Page]) -> None:
    page = shown(TRAINED)
    none = "\N{EN DASH}"
    assert rows(table(page, "Training"))[:2] == [
        ["0", none, none, "0.4312", "91.00 %"],
        ["kept1", "0.5120", "0.0008", "0.3110", "97.02 %"],
    ]
    assert rows(table(page, "Repairs")) == [["equalize", "2", "Ranges of 8 channels differ by 1.2 instead of 310."]]


def test_on_a_narrow_screen_only_tables_scroll(shown: Callable[[Report], Page]) -> None:
    everything = {name: getattr(ANALYZED, name) for name in ("sensitivity", "fusions", "lone_norms")}
    page = shown(SEARCHED.model_copy(update=everything | {"training": TRAINED.training}))
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390

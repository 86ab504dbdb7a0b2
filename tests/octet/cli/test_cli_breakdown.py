"""What the commands show of a report beyond its figures."""

from __future__ import annotations

import pytest
from example_report import ANALYZED, REPORT, SEARCHED, SIMULATED, TRAINED
from rendering import lines

from octet.cli import breakdown, render
from octet.cli.tables import TIMES, Rows, figure, label, words

LONG = "encoder.layers.11.self_attention.out_proj"


def row_of(shown: list[str], *starts: str) -> str:
    """The first row whose cells begin with `starts`, each cell after one space."""
    return next(" ".join(cells) for line in shown if (cells := line.split())[: len(starts)] == list(starts))


def test_layers_are_shown_in_the_order_of_the_model_with_all_that_was_measured() -> None:
    shown = lines(breakdown.layers(REPORT))
    cells = "2 0 Linear static 40.1 33.0 33.0 0.13% 42.0% → 31.0% -1.92 .. 2.2 -2.81 .. 3.04"
    assert [line.split()[:2] for line in shown[4:7]] == [["2", "0"], ["1", "2"], ["-", "head"]]
    assert shown[4].split() == cells.split()
    assert "float [1]" in shown[6]
    assert shown[7] == "[1] a rule of the recipe"


def test_ranked_layers_begin_with_the_lowest_sqnr_of_their_own_and_end_with_those_in_float() -> None:
    shown = lines(breakdown.layers(REPORT, ranked=True))
    assert [line.split()[:2] for line in shown[4:7]] == [["1", "2"], ["2", "0"], ["-", "head"]]


def test_bits_are_told_where_they_are_not_eight() -> None:
    layer = REPORT.layers[0].model_copy(update={"bits": 4})
    assert "static, 4 bits" in "\n".join(lines(breakdown.layers(REPORT.model_copy(update={"layers": (layer,)}))))


def test_what_nothing_was_measured_of_has_no_column() -> None:
    bare = {"saturation": None, "input_range": None, "output_range": None, "rank": None, "own_sqnr_db": None}
    shares = {"latency_share_fp32": None, "latency_share_int8": None}
    layer = REPORT.layers[0].model_copy(update=bare | shares)
    head = lines(breakdown.layers(REPORT.model_copy(update={"layers": (layer,)})))[2:4]
    assert [line.split() for line in head] == [["weight", "output"], ["layer", "type", "method", "dB", "dB"]]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_tables_stay_inside_the_terminal_and_figures_in_one_line(width: int) -> None:
    named = {"layers": tuple(layer.model_copy(update={"name": LONG}) for layer in REPORT.layers)}
    shown = lines(breakdown.layers(REPORT.model_copy(update=named)), *breakdown.course(SEARCHED), width=width)
    assert all(len(line) <= width for line in shown)
    assert sum("40.1 " in line and "0.13%" in line for line in shown) == 1
    assert sum("96.80%" in line and "2.64" in line and "kept" in line for line in shown) == 1
    assert any("-2.81 .. 3.04" in line for line in shown) == (width == 160)


def test_columns_that_can_be_spared_go_from_the_last_on_before_text_is_folded() -> None:
    table = Rows(words("name"), figure("kept"), label("first").spared, label("last").spared)
    table.add("a" * 10, "1.5", "b" * 10, "c" * 10)
    heads = [lines(table, width=width)[0].split() for width in (60, 30, 20)]
    assert heads == [["name", "kept", "first", "last"], ["name", "kept", "first"], ["name", "kept"]]


def test_text_is_shown_with_its_brackets() -> None:
    table = Rows(words("name"))
    table.add("[red]a[/red]")
    assert lines(table)[1] == "[red]a[/red]"


def test_sensitivity_is_a_ranking_and_a_curve() -> None:
    shown = lines(*breakdown.sensitivity(ANALYZED))
    assert row_of(shown, "1", "2") == "1 2 96.94% 30.1"
    assert row_of(shown, "2", "0") == "2 0 97.22% same"
    curve = shown[next(place for place, line in enumerate(shown) if line.startswith("curve")) :]
    assert [line.split() for line in curve[2:]] == [
        ["0", "96.94%", "29.4"],
        ["1", "97.08%", "33.8"],
        ["2", "97.22%", "same"],
    ]


def test_scores_of_values_are_no_percentages_and_without_targets_there_are_none() -> None:
    assert REPORT.accuracy is not None
    regression = REPORT.accuracy.model_copy(update={"metric": "mse"})
    assert " 0.9694 " in "\n".join(lines(*breakdown.sensitivity(ANALYZED.model_copy(update={"accuracy": regression}))))
    assert ANALYZED.sensitivity is not None
    layers = tuple(layer.model_copy(update={"score": None}) for layer in ANALYZED.sensitivity.layers)
    unlabelled = ANALYZED.sensitivity.model_copy(update={"layers": layers, "curve": ()})
    shown = lines(*breakdown.sensitivity(ANALYZED.model_copy(update={"sensitivity": unlabelled})))
    assert row_of(shown, "rank") == "rank layer SQNR dB"


def test_fusions_and_lone_norms_are_listed_with_their_parts_and_reasons() -> None:
    shown = lines(*breakdown.fusions(ANALYZED))
    assert row_of(shown, "0") == "0 Linear + ReLU 0, 1"
    assert row_of(shown, "norm", "BatchNorm2d") == "norm BatchNorm2d its input is added to before it"
    assert lines(*breakdown.fusions(REPORT)) == []


def test_every_trial_of_a_search_is_a_row_and_the_kept_one_is_marked() -> None:
    shown = lines(*breakdown.course(SEARCHED))
    assert "inside the budget after 5 models and 21 passes to rank layers" in shown[1]
    assert row_of(shown, "1") == f"1 static 0 89.17% 8.05% 9.9 0.556 3.31{TIMES} missed pareto"
    assert row_of(shown, "4") == f"4 static, mse, repaired 0 93.06% 4.16% 13.3 0.566 3.25{TIMES} missed"
    assert row_of(shown, "5").endswith(" inside pareto kept")


def test_a_simulation_shows_its_worst_tensors_and_no_latency() -> None:
    shown = lines(render.result(SIMULATED))
    assert row_of(shown, "method") == "method engine accuracy size dB verdict"
    assert row_of(shown, "layers.7") == "layers.7 activation 8 3.20%"
    assert shown[-1] == "and 4 more: --layers shows all"
    for whole in (render.result(SIMULATED, layers=True), render.analysis(SIMULATED)):
        assert row_of(lines(whole), "layers.0", "weight") == "layers.0 weight 4 0.20%"


def test_a_training_shows_its_epochs_and_which_was_kept_and_repairs_what_they_did() -> None:
    shown = lines(render.result(TRAINED))
    assert row_of(shown, "0") == "0 - - 0.4312 91.00%"
    assert row_of(shown, "1") == "1 0.512 0.0008 0.311 97.02% kept"
    assert row_of(shown, "equalize").startswith("equalize 2 ")


def test_a_plain_report_has_none_of_that() -> None:
    assert list(breakdown.course(REPORT)) == []
    assert list(breakdown.sensitivity(REPORT)) == []

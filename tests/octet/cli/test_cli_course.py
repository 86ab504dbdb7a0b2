"""What the commands show of how a model was come by, on real runs of a tiny model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from octet.cli.app import app
from octet.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECIPE = """
engine: fbgemm
calibration: {samples: 8, batch_size: 4}
training: {epochs: 2, batch_size: 4}
auto: {evaluations: 3}
measure: {seconds: 0.01, threads: 1}
gates: {max_accuracy_drop: 1.0}
"""


@pytest.fixture
def octet(tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A command on the tiny model with its data, a quick recipe, and a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    data = ("--recipe", recipe, "--calibration", tiny_data, "--evaluation", tiny_data)

    def run(command: str, *more: str | Path) -> Result:
        done = CliRunner().invoke(app, [command, str(tiny_model), *map(str, (*data, *more))])
        assert done.exit_code == 0, done.output
        assert all(len(line) <= 100 for line in done.stdout.splitlines() if not line.startswith(("saved in", "{")))
        return done

    return run


def headings(shown: str) -> list[str]:
    """The headings below the figures, in their order."""
    return re.findall(r"\n\n(\w+(?: \w+)?)", shown)


def test_an_analysis_ranks_layers_and_saves_nothing(
    octet: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = octet("analyze").stdout
    assert headings(shown)[:3] == ["layers", "sensitivity", "curve"]
    ranks = re.findall(r"^ +(\d) \S+ +Linear", shown, re.MULTILINE)
    assert ranks == sorted(ranks)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_an_analysis_as_json_is_a_report_with_everything_measured(octet: Callable[..., Result]) -> None:
    report = Report.model_validate_json(octet("analyze", "--json").stdout)
    assert report.sensitivity is not None
    assert {layer.name for layer in report.sensitivity.layers} == {"0", "2"}
    assert {layer.rank for layer in report.layers} == {1, 2}


@pytest.mark.parametrize(
    ("method", "heading"), [("auto", "trials"), ("simulate", "simulated tensors"), ("qat", "training")]
)
def test_each_method_shows_its_course_and_layers_if_asked(
    octet: Callable[..., Result], tmp_path: Path, method: str, heading: str
) -> None:
    shown = octet("quantize", "--method", method, "--layers", "-o", tmp_path / "out").stdout
    assert headings(shown)[:2] == [heading, "layers"]
    kept = shown.count(" kept\n") + shown.count(" kept ")
    assert kept == (method != "simulate")
    assert ("latency" in shown.splitlines()[0]) == (method != "simulate")
    assert shown.splitlines()[-1].startswith("saved in ")

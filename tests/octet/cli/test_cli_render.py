from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rendering import lines

from octet.cli import bars, render
from octet.progress import Progress

if TYPE_CHECKING:
    from octet.report import Report


def test_a_report_is_a_row_and_its_remarks_follow(report: Report) -> None:
    above, head, row, *remarks = lines(render.reports([("static", report)]))
    assert above.split() == ["latency", "SQNR"]
    assert head.split() == ["method", "engine", "accuracy", "size", "batch", "ms", "ratio", "dB", "verdict"]
    for cell in ("static", "97.00% → 95.00%", "4.0 kB → 1.0 kB", "1.00 → 0.500", " faster", " 31.4 ", "fails"):
        assert cell in row
    assert remarks == [
        "gate failed: max_accuracy_drop is 0.01, measured 0.02",
        "measured on a CPU, 2 threads, fp32 scripted, frozen",
    ]


def test_what_is_true_of_all_is_said_once(report: Report) -> None:
    warned = report.model_copy(update={"warnings": ("The data are synthetic.",)})
    remarks = lines(render.reports([("static", report), ("qat", warned)]))[4:]
    assert remarks == [
        "gate failed: max_accuracy_drop is 0.01, measured 0.02",
        "measured on a CPU, 2 threads, fp32 scripted, frozen",
        "qat: The data are synthetic.",
    ]


def test_without_labels_agreement_takes_the_place_of_accuracy(report: Report) -> None:
    assert render.accuracy(report.model_copy(update={"accuracy": None})) == "98.00% agree"


def test_a_latency_of_another_cpus_engine_is_marked(report: Report) -> None:
    latency = report.latency[0].model_copy(update={"representative": False})
    doubtful = lines(render.reports([("static", report.model_copy(update={"latency": (latency,)}))]))
    assert f"{latency.verdict} *" in doubtful[2]
    assert any(line.startswith("* not representative") for line in doubtful)


def test_wide_figures_fit_a_hundred_columns_and_fold_at_arrows_in_eighty(report: Report) -> None:
    latency = report.latency[0]
    timing = latency.fp32.model_copy(update={"median": 127.4})
    wide = report.model_copy(
        update={
            "engine": report.engine.model_copy(update={"name": "qnnpack"}),
            "latency": (latency.model_copy(update={"fp32": timing, "int8": timing, "representative": False}),) * 2,
            "size": report.size.model_copy(update={"fp32": 102_400_000, "int8": 25_600_000}),
        }
    )
    assert len([line for line in lines(render.reports([("dynamic", wide)]), width=100) if "MB" in line]) == 1
    narrow = lines(render.reports([("dynamic", wide)]), width=80)
    assert sum("127 → 127" in line for line in narrow) == 2
    assert sum("MB" in line for line in narrow) == 2


@pytest.mark.parametrize(
    ("milliseconds", "shown"), [(0.0042, "0.0042"), (0.12, "0.120"), (1.5, "1.50"), (27.54, "27.5"), (1234.5, "1234")]
)
def test_three_digits_of_a_latency_are_shown(report: Report, milliseconds: float, shown: str) -> None:
    timing = report.latency[0].fp32.model_copy(update={"median": milliseconds})
    latency = report.latency[0].model_copy(update={"fp32": timing})
    row = lines(render.reports([("static", report.model_copy(update={"latency": (latency,)}))]))[2]
    assert f" {shown} → 0.500" in row


def test_how_long_it_will_take_is_in_sight_on_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with bars.steps("quantize") as on_progress:
        on_progress(Progress(stage="train", fraction=0.4, message="epoch 3 of 10, loss 0.1234, about 3 min left"))
    assert "quantize: train epoch 3 of 10, loss 0.1234, about 3 min left" in capsys.readouterr().err

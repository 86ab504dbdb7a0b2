"""What a report holds beyond its figures: how the model was come by, and what each layer of it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from octet.cli.tables import ARROW, TIMES, Footnotes, Rows, decibels, figure, label, percent, three_digits, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from octet.report import LayerFacts, Report, Search, Sensitivity, SimulatedTensor, Trial

MOST_TENSORS = 12
"""Simulated tensors that are shown where not all layers are asked for."""

_NO_ERROR = "same"


def layers(report: Report, *, ranked: bool = False) -> RenderableType:
    """What became of each layer, and what it cost: in the order of the model, or the lowest SQNR of its own first."""
    table = Rows(
        figure("rank"),
        words("layer"),
        words("type").spared,
        label("method"),
        figure("weight\ndB"),
        figure("own\ndB"),
        figure("output\ndB"),
        figure("clipped"),
        label("time").spared,
        label("gives").spared,
        label("takes").spared,
        gap=1,
    )
    reasons = Footnotes()
    for layer in sorted(report.layers, key=_rank) if ranked else report.layers:
        table.add(
            None if layer.rank is None else str(layer.rank),
            layer.name,
            layer.type,
            _method(layer, reasons),
            decibels(layer.weight_sqnr_db),
            decibels(layer.own_sqnr_db),
            decibels(layer.activation_sqnr_db),
            percent(layer.saturation, 2),
            _shares(layer),
            _range(layer.output_range),
            _range(layer.input_range),
        )
    told = "SQNR of weights, of what a layer gives by itself, and inside the int8 model"
    return Group(_title("layers", told), table, *reasons.lines())


def sensitivity(report: Report) -> Iterator[RenderableType]:
    """Which layers the model can least afford to have quantized, and what it gives with ever more of them in float."""
    found = report.sensitivity
    if found is None:
        return
    yield _title("sensitivity", f"one layer quantized at a time, on {found.samples} samples")
    yield _ranking(found, report)
    yield _title("curve", "the most sensitive layers in float, all others quantized")
    yield _curve(found, report)


def fusions(report: Report) -> Iterator[RenderableType]:
    """What became one kernel, and the batch norms that are on their own."""
    if report.fusions:
        table = Rows(words("layer"), words("fused"), words("parts").spared)
        for fusion in report.fusions:
            table.add(fusion.name, fusion.kind, ", ".join(fusion.parts))
        yield _title("fusions")
        yield table
    if report.lone_norms:
        table = Rows(words("norm"), label("type"), words("why it is alone"))
        for norm in report.lone_norms:
            table.add(norm.name, norm.type, norm.reason)
        yield _title("lone norms")
        yield table


def course(report: Report, *, all_tensors: bool = False) -> Iterator[RenderableType]:
    """How the model was come by: trials, repairs, epochs, errors of a simulation; whichever there are."""
    if report.search is not None:
        yield _title("trials", _outcome(report.search))
        yield _trials(report.search, report)
    if report.repairs:
        table = Rows(label("repair"), figure("layers"), words("what it did"))
        for repair in report.repairs:
            table.add(repair.repair, str(len(repair.layers)), repair.summary)
        yield _title("repairs")
        yield table
    if report.training:
        yield _title("training")
        yield _epochs(report)
    if report.simulated:
        yield from _tensors(report.simulated, most=None if all_tensors else MOST_TENSORS)


def _ranking(found: Sensitivity, report: Report) -> RenderableType:
    table, score = Rows(figure("rank"), words("layer"), figure(_metric(report)), figure("SQNR dB")), _score(report)
    for rank, layer in enumerate(found.layers, 1):
        table.add(str(rank), layer.name, score(layer.score), decibels(layer.sqnr_db) or _NO_ERROR)
    return table


def _curve(found: Sensitivity, report: Report) -> RenderableType:
    table, score = Rows(figure("float layers"), figure(_metric(report)), figure("SQNR dB")), _score(report)
    for point in found.curve:
        table.add(str(point.float_layers), score(point.score), decibels(point.sqnr_db) or _NO_ERROR)
    return table


def _epochs(report: Report) -> RenderableType:
    table = Rows(
        figure("epoch"),
        figure("loss"),
        figure("learning rate"),
        figure("validation loss"),
        figure("validation accuracy"),
        label(""),
    )
    for epoch in report.training:
        table.add(
            str(epoch.number),
            _digits(epoch.loss),
            _digits(epoch.learning_rate),
            _digits(epoch.validation_loss),
            percent(epoch.validation_score, 2),
            _kept(chosen=epoch.chosen),
        )
    return table


def _trials(search: Search, report: Report) -> RenderableType:
    score = _score(report)
    table = Rows(
        figure("no."),
        words("what"),
        figure("float\nlayers"),
        figure(_metric(report)),
        figure("drop"),
        figure("SQNR\ndB").spared,
        figure("latency\nms"),
        figure("ratio"),
        label("budget"),
        label("front").spared,
        label(""),
        gap=1,
    )
    for trial in search.trials:
        table.add(
            str(trial.number),
            trial.what,
            str(trial.float_layers),
            score(trial.accuracy),
            score(trial.accuracy_drop),
            decibels(trial.sqnr_db) or _NO_ERROR,
            three_digits(trial.latency_ms),
            three_digits(trial.speedup) + TIMES,
            _budget(trial),
            "pareto" if trial.pareto else "",
            _kept(chosen=trial.chosen),
        )
    return table


def _outcome(search: Search) -> str:
    """How the search went, in a line."""
    met = "inside the budget" if search.met else "budget missed"
    ranking = f" and {search.ranking_passes} passes to rank layers" if search.ranking_passes else ""
    return (
        f"{met} after {len(search.trials)} models{ranking}, stopped because {search.stopped_by}; "
        f"a linear search has {search.layers} layers to try"
    )


def _tensors(simulated: Sequence[SimulatedTensor], most: int | None) -> Iterator[RenderableType]:
    """Errors of tensors, the worst first."""
    table = Rows(words("layer"), label("tensor"), figure("bits"), figure("relative error"))
    worst_first = sorted(simulated, key=lambda tensor: -tensor.relative_error)
    for tensor in worst_first[:most]:
        table.add(tensor.layer, tensor.kind, str(tensor.bits), percent(tensor.relative_error, 2))
    yield _title("simulated tensors", "||X - Xq|| / ||X||, the worst first")
    yield table
    if most is not None and len(simulated) > most:
        yield Text(f"and {len(simulated) - most} more: --layers shows all", style="dim")


def _rank(layer: LayerFacts) -> float:
    return float("inf") if layer.rank is None else layer.rank


def _method(layer: LayerFacts, reasons: Footnotes) -> str:
    """The method, the bits where they are not the usual ones, and why where it is float."""
    bits = "" if layer.bits in {None, 8} else f", {layer.bits} bits"
    return f"{layer.method}{bits}{reasons.mark(layer.reason)}"


def _range(ends: tuple[float, float] | None) -> str | None:
    return None if ends is None else f"{ends[0]:.3g} .. {ends[1]:.3g}"


def _shares(layer: LayerFacts) -> str | None:
    """Of the fp32 model's time and of the int8 model's."""
    shares = (layer.latency_share_fp32, layer.latency_share_int8)
    return None if shares == (None, None) else ARROW.join(percent(share) or "?" for share in shares)


def _metric(report: Report) -> str:
    return report.accuracy.metric if report.accuracy else ""


def _score(report: Report) -> Callable[[float | None], str | None]:
    """How scores of this report's metric are written."""
    return _digits if _metric(report) == "mse" else lambda value: percent(value, 2)


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _budget(trial: Trial) -> Text:
    return Text("inside", style="green") if trial.within_budget else Text("missed", style="yellow")


def _kept(*, chosen: bool) -> Text:
    return Text("kept", style="green") if chosen else Text()


def _title(name: str, told: str = "") -> Text:
    """A heading, with what is to be known before the table is read."""
    return Text.assemble("\n", (name, "bold"), (f"  {told}" if told else "", "dim"))

"""What the commands show to people: one place for every table, shared with `script/demo`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.text import Text

from octet.cli import breakdown
from octet.cli.outlook import layer_table
from octet.cli.tables import TIMES, Rows, change, decibels, facts, figure, label, lines, percent, three_digits, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from octet.engines import EngineName
    from octet.recipe import Int8Method
    from octet.report import GateResult, Latency, Report
    from octet.spec import ProgramSpec, TensorSpec
    from octet.wire import Job

_PIPE_WIDTH = 160
_DOUBT = " *"

_COLOURS = {
    "succeeded": "green",
    "passes": "green",
    "faster": "green",
    "running": "cyan",
    "cancelling": "yellow",
    "failed": "red",
    "fails": "red",
    "slower": "red",
}


def console() -> Console:
    """Standard output; a pipe gets lines wide enough for every table."""
    fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(file=sys.stdout, width=None if fixed else _PIPE_WIDTH, highlight=False)


def program(
    spec: ProgramSpec, *, title: str, methods: Sequence[Int8Method] = (), engines: Sequence[EngineName] = ()
) -> RenderableType:
    """A model: what it takes, what it gives, its layers and what will become of them; no methods or engines: all."""
    what = facts(
        ("inputs", _tensors(spec.inputs)),
        ("outputs", _tensors(spec.outputs)),
        ("parameters", f"{spec.parameters:,}"),
        ("exported by", f"torch {spec.torch_version}"),
    )
    notes = (Text(note, style="dim") for note in spec.notes)
    return Group(Text(title, style="bold"), what, layer_table(spec.layers, methods, engines), *notes)


def reports(rows: Iterable[tuple[str, Report]], *, first: str = "method") -> RenderableType:
    """What jobs did, one row for each, and what is to be known about the figures.

    Args:
        rows: A name and a report each.
        first: What the names are.
    """
    named = list(rows)
    table = Rows(
        label(first),
        label("engine"),
        words("accuracy"),
        words("size"),
        figure("batch"),
        label("latency\nms"),
        label("ratio"),
        figure("SQNR\ndB"),
        label("verdict"),
        gap=1,  # made to fit 100 columns; on fewer, two cells fold at their arrows and the others not at all
    )
    for name, report in named:
        table.add(
            name,
            report.engine.name,
            accuracy(report),
            change(decimal(report.size.fp32), decimal(report.size.int8)),
            lines(str(latency.batch_size) for latency in report.latency),
            lines(_latency(latency) for latency in report.latency),
            lines(_ratio(latency) for latency in report.latency),
            _sqnr(report),
            _coloured(report.verdict),
        )
    return Group(table, *_notes(named))


def result(report: Report, *, layers: bool = False) -> RenderableType:
    """What a job did, how it came to it, and, if asked for, what became of each layer."""
    details = (breakdown.layers(report), *breakdown.fusions(report)) if layers else ()
    return Group(_figures(report), *breakdown.course(report, all_tensors=layers), *details)


def analysis(report: Report) -> RenderableType:
    """What quantizing cost, layer by layer, and what leaving layers in float would win."""
    return Group(
        _figures(report),
        *breakdown.course(report, all_tensors=True),
        breakdown.layers(report, ranked=True),
        *breakdown.sensitivity(report),
        *breakdown.fusions(report),
    )


def accuracy(report: Report) -> str | None:
    """How good fp32 and int8 are on the evaluation data; without labels, how often they agree."""
    if report.accuracy is None:
        agreement = percent(report.fidelity.agreement, 2)
        return agreement and f"{agreement} agree"
    if report.accuracy.metric == "accuracy":
        return change(f"{report.accuracy.fp32:.2%}", f"{report.accuracy.int8:.2%}")
    return change(f"{report.accuracy.fp32:.4g}", f"{report.accuracy.int8:.4g}") + f" {report.accuracy.metric}"


def jobs(listed: Sequence[Job]) -> RenderableType:
    """Jobs, one row for each."""
    table = Rows(
        words("id"),
        words("name"),
        label("method"),
        label("engine"),
        label("state"),
        figure("done"),
        label("verdict"),
        label("queued"),
    )
    for job in listed:
        table.add(
            str(job.id),
            job.name or None,
            job.recipe.method,
            job.recipe.engine,
            _coloured(job.state),
            f"{job.progress:.0%}",
            _coloured(job.verdict) if job.verdict else None,
            f"{job.queued_at.astimezone():%Y-%m-%d %H:%M}",
        )
    return table


def job(shown: Job) -> RenderableType:
    """One job, and how far it has come."""
    told = [
        ("job", Text(str(shown.id))),
        ("name", Text(shown.name or "-")),
        ("state", _coloured(shown.state)),
        ("progress", Text(f"{shown.progress:.0%} {shown.stage or ''} {shown.message}".rstrip())),
        ("recipe", Text(f"{shown.recipe.method}, {shown.recipe.engine}")),
        ("queued", Text(f"{shown.queued_at.astimezone():%Y-%m-%d %H:%M:%S}")),
    ]
    if shown.queue_position is not None:
        told.append(("ahead of it", Text(f"{shown.queue_position} jobs")))
    if shown.error is not None:
        told.append(("error", Text(shown.error.message, style="red")))
        told.append(("hint", Text(shown.error.hint or "-")))
    return facts(*told)


def gate(result: GateResult) -> str:
    """A gate and what was measured, as one sentence."""
    return f"{result.gate} is {result.limit:g}, measured {_number(result.measured)}"


def _figures(report: Report) -> RenderableType:
    return reports([(report.recipe.method, report)])


def _notes(named: Sequence[tuple[str, Report]]) -> list[Text]:
    """What is to be known about the figures; what is true of all of them is said once."""
    concerned: dict[str, list[str]] = {}
    for name, report in named:
        for remark in _remarks(report):
            concerned.setdefault(remark, []).append(name)
    return [
        Text(remark if len(names) == len(named) else f"{', '.join(names)}: {remark}", style="dim")
        for remark, names in concerned.items()
    ]


def _remarks(report: Report) -> Iterator[str]:
    yield from (f"gate failed: {gate(result)}" for result in report.gates if result.passed is False)
    yield from report.warnings
    if not all(latency.representative for latency in report.latency):
        yield f"{_DOUBT.strip()} not representative: this is not a CPU that {report.engine.name} is made for"
    timed = "".join(f", {latency.threads} threads, fp32 {latency.baseline}" for latency in report.latency[:1])
    yield f"measured on {report.machine.cpu}{timed}"


def _latency(latency: Latency) -> str:
    return change(three_digits(latency.fp32.median), three_digits(latency.int8.median))


def _ratio(latency: Latency) -> str:
    doubt = "" if latency.representative else _DOUBT
    return f"{three_digits(latency.ratio)}{TIMES} {latency.verdict}{doubt}"


def _sqnr(report: Report) -> str:
    """Without any error there is no ratio to it."""
    return decibels(report.fidelity.sqnr_db) or "same"


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"


def _tensors(specs: Iterable[TensorSpec]) -> Text:
    return Text("\n".join(f"{spec.name}: {spec.dtype} [{', '.join(map(str, spec.shape))}]" for spec in specs))


def _coloured(word: str) -> Text:
    return Text(word, style=_COLOURS.get(word, ""))

"""What the commands show to people: one place for every table, shared with `script/demo`."""

from __future__ import annotations

import os
import sys
from math import floor, log10
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from octet.cli.outlook import layer_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from octet.engines import EngineName
    from octet.recipe import Int8Method
    from octet.report import GateResult, Latency, Report
    from octet.spec import ProgramSpec, TensorSpec
    from octet.wire import Job

_ARROW = " → "
_NONE = "-"
_TIMES = "×"  # noqa: RUF001 - the sign for a ratio, on purpose
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
    facts = _facts(
        ("inputs", _tensors(spec.inputs)),
        ("outputs", _tensors(spec.outputs)),
        ("parameters", f"{spec.parameters:,}"),
        ("exported by", f"torch {spec.torch_version}"),
    )
    notes = (Text(note, style="dim") for note in spec.notes)
    return Group(Text(title, style="bold"), facts, layer_table(spec.layers, methods, engines), *notes)


def reports(rows: Iterable[tuple[str, Report]], *, first: str = "method") -> RenderableType:
    """What jobs did, one row for each, and what is to be known about the figures.

    Args:
        rows: A name and a report each.
        first: What the names are.
    """
    named = list(rows)
    table = _table(first, "engine", "accuracy", "size", "batch>", "latency\nms", "ratio", "SQNR\ndB>", "verdict")
    # Made to fit 100 columns; on fewer, two cells fold at their arrows and the others not at all.
    table.padding = (0, 1, 0, 0)
    for column in table.columns:
        column.no_wrap = column.header not in {"accuracy", "size"}
    for name, report in named:
        table.add_row(
            Text(name),
            report.engine.name,
            accuracy(report),
            _change(decimal(report.size.fp32), decimal(report.size.int8)),
            _lines(str(latency.batch_size) for latency in report.latency),
            _lines(_latency(latency) for latency in report.latency),
            _lines(_ratio(latency) for latency in report.latency),
            _sqnr(report),
            _coloured(report.verdict),
        )
    return Group(table, *_notes(named))


def accuracy(report: Report) -> str:
    """How good fp32 and int8 are on the evaluation data; without labels, how often they agree."""
    if report.accuracy is None:
        agreement = report.fidelity.agreement
        return _NONE if agreement is None else f"{agreement:.2%} agree"
    if report.accuracy.metric == "accuracy":
        return _change(f"{report.accuracy.fp32:.2%}", f"{report.accuracy.int8:.2%}")
    return _change(f"{report.accuracy.fp32:.4g}", f"{report.accuracy.int8:.4g}") + f" {report.accuracy.metric}"


def layers(report: Report) -> RenderableType:
    """What became of each layer, and what it cost."""
    table = _table("layer", "type", "method", "weight SQNR>", "output SQNR>", "why float")
    for layer in report.layers:
        table.add_row(
            Text(layer.name),
            layer.type,
            layer.method,
            _decibel(layer.weight_sqnr_db),
            _decibel(layer.activation_sqnr_db),
            Text(layer.reason or ""),
        )
    return table


def jobs(listed: Sequence[Job]) -> RenderableType:
    """Jobs, one row for each."""
    table = _table("id", "name", "method", "engine", "state", "done>", "verdict", "queued")
    for job in listed:
        table.add_row(
            str(job.id),
            Text(job.name or ""),
            job.recipe.method,
            job.recipe.engine,
            _coloured(job.state),
            f"{job.progress:.0%}",
            _coloured(job.verdict or ""),
            f"{job.queued_at.astimezone():%Y-%m-%d %H:%M}",
        )
    return table


def job(shown: Job) -> RenderableType:
    """One job, and how far it has come."""
    facts = [
        ("job", Text(str(shown.id))),
        ("name", Text(shown.name or _NONE)),
        ("state", _coloured(shown.state)),
        ("progress", Text(f"{shown.progress:.0%} {shown.stage or ''} {shown.message}".rstrip())),
        ("recipe", Text(f"{shown.recipe.method}, {shown.recipe.engine}")),
        ("queued", Text(f"{shown.queued_at.astimezone():%Y-%m-%d %H:%M:%S}")),
    ]
    if shown.queue_position is not None:
        facts.append(("ahead of it", Text(f"{shown.queue_position} jobs")))
    if shown.error is not None:
        facts.append(("error", Text(shown.error.message, style="red")))
        facts.append(("hint", Text(shown.error.hint or _NONE)))
    return _facts(*facts)


def gate(result: GateResult) -> str:
    """A gate and what was measured, as one sentence."""
    return f"{result.gate} is {result.limit:g}, measured {_number(result.measured)}"


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
    return _change(_three_digits(latency.fp32.median), _three_digits(latency.int8.median))


def _three_digits(value: float) -> str:
    """Three digits that tell something."""
    return f"{value:.{max(0, 2 - floor(log10(max(value, 0.01))))}f}"


def _ratio(latency: Latency) -> str:
    doubt = "" if latency.representative else _DOUBT
    return f"{_three_digits(latency.ratio)}{_TIMES} {latency.verdict}{doubt}"


def _sqnr(report: Report) -> str:
    """Without any error there is no ratio to it."""
    return "same" if report.fidelity.sqnr_db is None else f"{report.fidelity.sqnr_db:.1f}"


def _decibel(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1f} dB"


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"


def _change(before: str, after: str) -> str:
    return before + _ARROW + after


def _lines(cells: Iterable[str]) -> str:
    return "\n".join(cells) or _NONE


def _tensors(specs: Iterable[TensorSpec]) -> Text:
    return Text("\n".join(f"{spec.name}: {spec.dtype} [{', '.join(map(str, spec.shape))}]" for spec in specs))


def _coloured(word: str) -> Text:
    return Text(word, style=_COLOURS.get(word, ""))


def _facts(*facts: tuple[str, RenderableType]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for name, value in facts:
        grid.add_row(name, value)
    return grid


def _table(*columns: str) -> Table:
    """An empty table; a column whose name ends in `>` is right-aligned."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.removesuffix(">"), justify="right" if column.endswith(">") else "left")
    return table

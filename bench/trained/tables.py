"""The tables of `bench/accuracy.py`, for a terminal and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from trained.bounds import Row

Figures = dict[str, Any]
Lines = list[tuple[str, ...]]

HEAD = ("", "fp32", "method", "int8", "drop, points", "SQNR", "size", "speed", "auto: models", "linear search")


def lines(rows: dict[str, Row]) -> Lines:
    """One line for each architecture and method."""
    return [
        (
            name if first else "",
            f"{figures['fp32']:.2f} %" if first and "fp32" in figures else "",
            *_cells(way, figures),
        )
        for name, row in rows.items()
        for first, (way, figures) in zip((True, *[False] * len(row)), row.items(), strict=False)
    ]


def terminal(found: Lines) -> Table:
    """For people at a terminal."""
    table = Table(*HEAD)
    for line in found:
        table.add_row(*line, end_section=False)
    return table


def markdown(found: Lines) -> str:
    """For docs/benchmarks.md."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEAD, ["---"] * len(HEAD), *found)) + "\n"


def _cells(way: str, figures: Figures) -> tuple[str, ...]:
    if "error" in figures:
        return (way, figures["error"], *[""] * (len(HEAD) - 4))
    sqnr = "identical" if figures["sqnr"] is None else f"{figures['sqnr']:.1f} dB"
    ratios = (f"{figures['size']:.2f}x", f"{figures['speed']:.2f}x")
    search = (str(figures["evaluations"]), str(figures["layers"])) if "evaluations" in figures else ("", "")
    return way, f"{figures['int8']:.2f} %", f"{figures['drop']:+.2f}", sqnr, *ratios, *search

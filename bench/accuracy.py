"""What int8 costs in accuracy, architecture by architecture, with the recipes' defaults.

    .venv/bin/python bench/accuracy.py --work FOLDER [--only NAME…] [--columns static…] [--json FILE] [--markdown FILE]

Small models of every family are trained once, in minutes on two cores, on data that ships in packages or is generated,
and kept in FOLDER. Each is quantized in every way and measured on held-back data by Octet's own report, which also
takes the sizes and latencies. The last architecture has channels of wildly uneven ranges, which plain quantization
breaks on. Exits 1 where a bound of `bench/trained/bounds.py` is missed; a part of the whole has no bounds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from trained import ARCHITECTURES, UNEVEN, Architecture, recipes
from trained.bounds import missed
from trained.tables import lines, markdown, terminal

import octet

if TYPE_CHECKING:
    from trained.recipes import Column

    from octet.report import Report

CONSOLE = Console(width=150, highlight=False)
NAMES = [*ARCHITECTURES, UNEVEN.name]
COLUMNS = [*dict.fromkeys([*recipes.USUAL, *recipes.UNEVEN])]


def main() -> None:
    """Print the table as it comes, then whole, then the bounds that are missed."""
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for name in options.only:
        architecture, columns = _row(name)
        rows[name] = {}
        for column in columns.values():
            if column.name in options.columns:
                rows[name][column.name] = _figures(architecture, column, options.work)
                CONSOLE.print(*lines({name: rows[name]})[-1][2:], f"({name})", markup=False)
        if options.json:  # after every row: what is there stays there if the run is stopped
            options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    found = lines(rows)
    CONSOLE.print(terminal(found))
    if options.markdown:
        options.markdown.write_text(markdown(found), encoding="utf-8")
    whole = (options.only, options.columns) == (NAMES, COLUMNS)
    bounds = missed({name: rows[name] for name in ARCHITECTURES}, rows[UNEVEN.name]) if whole else []
    for bound in bounds:
        CONSOLE.print(f"missed: {bound}", markup=False)
    raise SystemExit(bool(bounds))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="where trained models are kept")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=COLUMNS, metavar="COLUMN")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was found")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table")
    return parser.parse_args()


def _row(name: str) -> tuple[Architecture, dict[str, Column]]:
    return (UNEVEN, recipes.UNEVEN) if name == UNEVEN.name else (ARCHITECTURES[name], recipes.USUAL)


def _figures(architecture: Architecture, column: Column, work: Path) -> dict[str, Any]:
    """Accuracies in percent, SQNR in dB, ratios to fp32; or the error."""
    program, task = octet.load(architecture.trained(work)), architecture.task()
    data = {"calibration": task.training.dataset(), "evaluation": task.held_back.dataset()}
    try:
        return _read(octet.quantize(program, column.recipe, **data).report)
    except octet.OctetError as error:
        return {"error": f"{error.code}: {error.message}"}


def _read(report: Report) -> dict[str, Any]:
    assert report.accuracy is not None, "the held-back data has labels"
    figures: dict[str, Any] = {
        "fp32": 100 * report.accuracy.fp32,
        "int8": 100 * report.accuracy.int8,
        "drop": 100 * report.accuracy.drop,
        "samples": report.accuracy.samples,
        "sqnr": report.fidelity.sqnr_db,
        "size": report.size.ratio,
        "speed": report.latency[0].ratio,
        "layers": len([layer for layer in report.layers if layer.method != "float"]),
        "warnings": report.warnings,
        "seconds": sum(report.seconds.values()),
    }
    if report.search is not None:
        figures["evaluations"], figures["layers"] = len(report.search.trials), report.search.layers
        figures["trials"] = [trial.model_dump(exclude={"recipe"}) for trial in report.search.trials]
    return figures


if __name__ == "__main__":
    main()

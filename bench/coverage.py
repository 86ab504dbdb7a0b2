"""How much of the field Octet takes, beside FX graph mode on the source code and torchao's PT2E.

    script/bootstrap --with-bench                                   torchvision, transformers and torchao, once
    .venv/bin/python bench/coverage.py [--list] [--only NAME…] [--toolkits octet…] [--json FILE] [--jobs 2]

Every toolkit meets every architecture in a process of its own, limited in time and memory. The models have random
weights and are built from configurations: nothing is downloaded. What counts as taken is in `bench/toolkits/`. Exits 1
where a bound of `bench/toolkits/totals.py` is missed; a part of the whole has no bounds.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from architectures import ARCHITECTURES, Architecture
from rich.console import Console
from toolkits import TOOLKITS, isolated
from toolkits.totals import missed, parity, totals

CONSOLE = Console(width=150, highlight=False)
COLUMNS = (
    f"{'':36} {'MAC':>7}  {'Octet':>8} {'static':>8} {'dynamic':>8} {'int8':>5} {'of MAC':>7}"
    f"  {'FX':>8} {'int8':>5} {'of MAC':>7} {'Octet-FX':>9}  {'PT2E':>8} {'int8':>5} {'of MAC':>7}"
)


def main() -> None:
    """Print the table as it comes, then the totals and the failures."""
    options = _options()
    if options.list:
        print("\n".join(f"{row.name:45} {row.group}" for row in ARCHITECTURES.values()))
        return
    rows: dict[str, dict[str, Any]] = {}
    group = ""
    CONSOLE.print(COLUMNS)
    with ThreadPoolExecutor(options.jobs) as pool:
        names = options.only or list(ARCHITECTURES)
        for name, row in zip(names, pool.map(lambda name: _take(name, options.toolkits), names), strict=True):
            rows[name] = row
            architecture = ARCHITECTURES[name]
            if architecture.group != group:
                group = architecture.group
                CONSOLE.print(f"[bold]{group}")
            CONSOLE.print(_line(architecture, row), markup=False)
            if options.json:  # after every row: what is there stays there if the run is stopped
                options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    _print_failures(rows)
    CONSOLE.print(totals(rows), parity(rows))
    bounds = [] if options.only or options.toolkits != [*TOOLKITS] else missed(rows)
    for bound in bounds:
        CONSOLE.print(f"missed: {bound}", markup=False)
    raise SystemExit(bool(bounds))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true", help="the architectures, and nothing else")
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, metavar="NAME")
    parser.add_argument("--toolkits", nargs="+", choices=TOOLKITS, default=list(TOOLKITS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was found")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="architectures at a time, one thread each")
    return parser.parse_args()


def _take(name: str, names: list[str]) -> dict[str, Any]:
    return {toolkit: isolated.run(toolkit, name) for toolkit in names}


def _line(architecture: Architecture, row: dict[str, Any]) -> str:
    """One row: SQNR in dB, int8 layers, and their share of multiply-adds; or the stage that failed."""
    octet, peers = row.get("octet", {}), [row.get(name, {}) for name in ("fx", "pt2e")]
    macs = octet.get("macs")
    ours, fx, pt2e = (_static(facts, macs) for facts in (octet, *peers))
    float_error = octet.get("difference")
    return (
        f"{architecture.name:36} {f'{macs / 1e6:.1f}M' if macs else '':>7}"
        f"  {'' if float_error is None else f'{float_error:.0e}':>8} {ours[0]} {_sqnr(octet, 'dynamic')} {ours[1]}"
        f"  {fx[0]} {fx[1]} {_gap(octet, peers[0]):>9}  {pt2e[0]} {pt2e[1]}"
    )


def _static(facts: dict[str, Any], macs: int | None) -> tuple[str, str]:
    static = facts.get("static")
    share = f"{static['layers']:5} {static['macs'] / macs:7.1%}" if static and macs else " " * 13
    return _sqnr(facts, "static"), share


def _sqnr(facts: dict[str, Any], method: str) -> str:
    if method in facts:
        return f"{facts[method]['sqnr']:8.2f}"
    failed = [stage for stage in facts.get("errors", {}) if stage not in {"static", "dynamic"} - {method}]
    return f"{(failed or [''])[0]:>8}"


def _gap(octet: dict[str, Any], fx: dict[str, Any]) -> str:
    return f"{octet['static']['sqnr'] - fx['static']['sqnr']:+.2f}" if "static" in octet and "static" in fx else ""


def _print_failures(rows: dict[str, dict[str, Any]]) -> None:
    for toolkit in TOOLKITS:
        found = [(name, row[toolkit]["errors"]) for name, row in rows.items() if row.get(toolkit, {}).get("errors")]
        if found:
            CONSOLE.print(f"[bold]{toolkit} does not take")
        for name, errors in found:
            for stage, text in errors.items():
                CONSOLE.print(f"  {name}, {stage}: {text if toolkit == 'octet' else text[:120]}", markup=False)


if __name__ == "__main__":
    main()

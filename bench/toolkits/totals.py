"""The totals of `bench/coverage.py`, and the bounds they have to keep."""

from __future__ import annotations

from statistics import median
from typing import Any

from rich.table import Table

LEAST_ARCHITECTURES = 60
LEAST_TAKEN = 0.95
LEAST_MULTIPLY_ADDS = 0.95
MOST_MEDIAN_GAP = 0.1
MOST_GAP = 1.0

STATED = {
    "swin_v2_t": "FX does not see into its attention, which torchvision wraps, and leaves those 24 layers in float."
}
"""Architectures that may differ from FX on the source code, and why."""

TITLES = {"octet": "Octet", "fx": "FX on the source code", "pt2e": "PT2E, x86 quantizer"}
Rows = dict[str, dict[str, Any]]


def totals(rows: Rows) -> Table:
    """The toolkits side by side."""
    toolkits = [name for name in TITLES if any(name in row for row in rows.values())]
    table = Table("", *(TITLES[name] for name in toolkits))
    taken = {name: _taken(rows, name) for name in toolkits}
    shares = {name: [_share(row, name) for row in taken[name] if _macs(row)] for name in toolkits}
    count = len(rows)
    table.add_row("taken", *(f"{len(taken[name])} of {count}, {len(taken[name]) / count:.1%}" for name in toolkits))
    table.add_row("their multiply-adds in int8", *(f"{_aggregate(taken[name], name):.1%}" for name in toolkits))
    table.add_row("the same, mean", *(f"{sum(shares[name]) / max(1, len(shares[name])):.1%}" for name in toolkits))
    table.add_row("the same, of all, 0 if not taken", *(f"{sum(shares[name]) / count:.1%}" for name in toolkits))
    return table


def parity(rows: Rows) -> Table:
    """Octet against FX, over the architectures whose source code FX takes."""
    table = Table("Octet - FX, where both take it", "")
    gaps = list(_gaps(rows).values())
    if gaps:
        more = sum(ours["layers"] > theirs["layers"] for ours, theirs in _both(rows).values())
        table.add_row("SQNR, median", f"{median(gaps):+.2f} dB")
        table.add_row("SQNR, from and to", f"{min(gaps):+.2f} to {max(gaps):+.2f} dB")
        table.add_row("more int8 layers", f"{more} of {len(gaps)}")
        for name in STATED.keys() & _both(rows).keys():
            table.add_row(name, STATED[name])
    return table


def missed(rows: Rows) -> list[str]:
    """Every bound that does not hold."""
    return [*_coverage(rows, _taken(rows, "octet")), *_parity(rows)]


def _taken(rows: Rows, toolkit: str) -> list[dict[str, Any]]:
    return [row for row in rows.values() if toolkit in row and not row[toolkit]["errors"]]


def _macs(row: dict[str, Any]) -> int:
    """Counted on the source model, when it is Octet's turn."""
    return int(row.get("octet", {}).get("macs", 0))


def _share(row: dict[str, Any], toolkit: str) -> float:
    return min(1.0, row[toolkit]["static"]["macs"] / _macs(row))


def _aggregate(taken: list[dict[str, Any]], toolkit: str) -> float:
    whole = sum(_macs(row) for row in taken)
    return sum(_share(row, toolkit) * _macs(row) for row in taken if _macs(row)) / max(1, whole)


def _coverage(rows: Rows, taken: list[dict[str, Any]]) -> list[str]:
    found = []
    if len(rows) < LEAST_ARCHITECTURES:
        found.append(f"{len(rows)} architectures, at least {LEAST_ARCHITECTURES} are needed")
    if len(taken) < LEAST_TAKEN * len(rows):
        found.append(f"{len(taken) / len(rows):.1%} taken, at least {LEAST_TAKEN:.0%} are needed")
    if _aggregate(taken, "octet") < LEAST_MULTIPLY_ADDS:
        found.append(f"fewer than {LEAST_MULTIPLY_ADDS:.0%} of the multiply-adds run in int8")
    return found


def _both(rows: Rows) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Static figures of Octet and of FX."""
    return {
        name: (row["octet"]["static"], row["fx"]["static"])
        for name, row in rows.items()
        if {"octet", "fx"} <= {*row} and "static" in row["octet"] and not row["fx"]["errors"]
    }


def _gaps(rows: Rows) -> dict[str, float]:
    return {name: ours["sqnr"] - theirs["sqnr"] for name, (ours, theirs) in _both(rows).items()}


def _parity(rows: Rows) -> list[str]:
    gaps, both = _gaps(rows), _both(rows)
    middle = median(gaps.values()) if gaps else 0.0
    found = [f"the median SQNR is {middle:+.2f} dB from FX's"] if abs(middle) > MOST_MEDIAN_GAP else []
    worse = {name: f"{gap:+.2f} dB" for name, gap in gaps.items() if gap < -MOST_GAP}
    fewer = {
        name: f"{ours['layers']} int8 layers, not {theirs['layers']}"
        for name, (ours, theirs) in both.items()
        if ours["layers"] < theirs["layers"]
    }
    return found + [
        f"{name} against FX: {text}" for name, text in (*worse.items(), *fewer.items()) if name not in STATED
    ]

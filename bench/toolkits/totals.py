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

STATED: dict[str, str] = {}
"""Architectures that may differ from FX on the source code, and why."""

TITLES = {"octet": "Octet", "fx": "FX on the source code", "pt2e": "PT2E, x86 quantizer"}
Rows = dict[str, dict[str, Any]]


def totals(rows: Rows) -> tuple[Table, list[str]]:
    """The toolkits side by side, and every bound that was missed."""
    toolkits = [name for name in TITLES if any(name in row for row in rows.values())]
    table = Table("", *(TITLES[name] for name in toolkits))
    taken = {name: [row for row in rows.values() if not row[name]["errors"]] for name in toolkits}
    table.add_row(
        "taken", *(f"{len(taken[name])} of {len(rows)}, {len(taken[name]) / len(rows):.1%}" for name in toolkits)
    )
    for group, share in (("multiply-adds in int8", _aggregate), ("the same, median of all", _typical)):
        table.add_row(group, *(f"{share(taken[name], name):.1%}" for name in toolkits))
    table.add_row("over all, what is not taken as 0", *(f"{_over_all(rows, name):.1%}" for name in toolkits))
    missed = [
        *_coverage(rows, taken.get("octet", [])),
        *(_parity(rows, table) if {"octet", "fx"} <= {*toolkits} else ()),
    ]
    return table, missed


def _share(row: dict[str, Any], toolkit: str) -> float:
    static = row[toolkit].get("static")
    return min(1.0, static["macs"] / row["octet"]["macs"]) if static else 0.0


def _aggregate(taken: list[dict[str, Any]], toolkit: str) -> float:
    """Of all multiply-adds of the convolutions and linear layers of what it takes."""
    counted = [row for row in taken if row["octet"].get("macs")]
    whole = sum(row["octet"]["macs"] for row in counted)
    return sum(_share(row, toolkit) * row["octet"]["macs"] for row in counted) / max(1, whole)


def _typical(taken: list[dict[str, Any]], toolkit: str) -> float:
    return median([_share(row, toolkit) for row in taken if row["octet"].get("macs")] or [0.0])


def _over_all(rows: Rows, toolkit: str) -> float:
    """Of the mean architecture."""
    counted = [row for row in rows.values() if row["octet"].get("macs")]
    return sum(_share(row, toolkit) for row in counted if not row[toolkit]["errors"]) / max(1, len(counted))


def _coverage(rows: Rows, taken: list[dict[str, Any]]) -> list[str]:
    missed = []
    if len(rows) < LEAST_ARCHITECTURES:
        missed.append(f"{len(rows)} architectures, at least {LEAST_ARCHITECTURES} are needed")
    if len(taken) < LEAST_TAKEN * len(rows):
        missed.append(f"{len(taken) / len(rows):.1%} taken, at least {LEAST_TAKEN:.0%} are needed")
    if _aggregate(taken, "octet") < LEAST_MULTIPLY_ADDS:
        missed.append(f"fewer than {LEAST_MULTIPLY_ADDS:.0%} of the multiply-adds run in int8")
    return missed


def _parity(rows: Rows, table: Table) -> list[str]:
    """Over what both take: the same SQNR, and no fewer int8 layers."""
    both = {name: (row["octet"]["static"], row["fx"]["static"]) for name, row in rows.items()
            if "static" in row["octet"] and not row["fx"]["errors"]}  # fmt: skip
    gaps = {name: ours["sqnr"] - theirs["sqnr"] for name, (ours, theirs) in both.items()}
    if not gaps:
        return []
    middle = median(gaps.values())
    more = sum(ours["layers"] > theirs["layers"] for ours, theirs in both.values())
    table.add_row(
        "SQNR, Octet - FX",
        f"median {middle:+.2f} dB, {min(gaps.values()):+.2f} to {max(gaps.values()):+.2f} dB",
        f"over the {len(both)} that both take",
    )
    table.add_row("more int8 layers than FX", f"{more} of {len(both)}")
    missed = [f"the median SQNR is {middle:+.2f} dB from FX's"] if abs(middle) > MOST_MEDIAN_GAP else []
    missed += [
        f"{name}: {gap:+.2f} dB against FX" for name, gap in gaps.items() if gap < -MOST_GAP and name not in STATED
    ]
    return missed + [
        f"{name}: {ours['layers']} int8 layers, FX has {theirs['layers']}"
        for name, (ours, theirs) in both.items()
        if ours["layers"] < theirs["layers"] and name not in STATED
    ]

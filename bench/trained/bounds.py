"""The bounds of `bench/accuracy.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trained.recipes import LEAST_COLLAPSE, MENDED, USUAL

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = dict[str, dict[str, Any]]
"""Column -> figures, as `bench/accuracy.py` finds them."""

LEAST_ARCHITECTURES = 6
LEAST_ACCURACY = 95.0
MOST_EVALUATIONS = 12
ROUNDING = 1e-6


def missed(usual: dict[str, Row], uneven: Row) -> list[str]:
    """Every bound that does not hold."""
    found = [f"{name}, {bound}" for name, row in usual.items() for bound in _missed_by(row)]
    if len(usual) < LEAST_ARCHITECTURES:
        found.append(f"{len(usual)} architectures, at least {LEAST_ARCHITECTURES} are needed")
    return found + [f"uneven, {bound}" for bound in _missed_by_uneven(uneven)]


def _missed_by(row: Row) -> Iterator[str]:
    for name, figures in row.items():
        most = USUAL[name].most_drop
        if "error" in figures:
            yield f"{name}: {figures['error']}"
            continue
        if figures["fp32"] < LEAST_ACCURACY:
            yield f"{name}: fp32 reaches {figures['fp32']:.2f} %, at least {LEAST_ACCURACY} are needed"
        if most is not None and figures["drop"] > most + ROUNDING:
            yield f"{name}: loses {figures['drop']:.2f} points, at most {most} are allowed"
        if figures.get("evaluations", 0) > MOST_EVALUATIONS:
            yield f"{name}: {figures['evaluations']} evaluations, at most {MOST_EVALUATIONS} are allowed"


def _missed_by_uneven(row: Row) -> Iterator[str]:
    yield from (f"{name}: {figures['error']}" for name, figures in row.items() if "error" in figures)
    drops = {name: figures["drop"] for name, figures in row.items() if "drop" in figures}
    if not any(drops.get(name, 0.0) >= LEAST_COLLAPSE for name in ("static", "static per tensor")):
        yield f"plain static loses less than {LEAST_COLLAPSE} points: there is nothing to mend"
    if min(drops.get(name, 100.0) for name in ("static equalized", "auto")) > MENDED + ROUNDING:
        yield f"neither equalization nor auto comes within {MENDED} points"

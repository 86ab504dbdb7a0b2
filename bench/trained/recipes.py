"""The recipes of `bench/accuracy.py`: what a column is, and how much accuracy it may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import octet

BUDGET = 0.5
"""Points of accuracy that `auto` may spend."""

MEASURE = {"seconds": 1.0, "layers": False, "batch_sizes": [32], "threads": 1}
"""Batches of one leave so small a model little to compute: the cost of each call is all that would show."""


@dataclass(frozen=True)
class Column:
    """One way to quantize.

    Attributes:
        name: Its column.
        document: The recipe; what is absent is default.
        most_drop: Points of accuracy that it may cost; None: no bound.
    """

    name: str
    document: dict[str, Any]
    most_drop: float | None = None

    @property
    def recipe(self) -> octet.Recipe:
        """The recipe, with a short measurement that leaves single layers out."""
        return octet.Recipe.parse({**self.document, "measure": MEASURE})


AUTO = Column("auto", {"method": "auto", "gates": {"max_accuracy_drop": BUDGET / 100}}, BUDGET)

USUAL: dict[str, Column] = {
    column.name: column
    for column in (
        Column("static", {"method": "static"}, 1.0),
        Column("dynamic", {"method": "dynamic"}, 0.3),
        Column("qat", {"method": "qat"}, 0.3),
        AUTO,
    )
}
"""For every architecture."""

MENDED = 1.0
LEAST_COLLAPSE = 5.0
"""Points that plain quantization loses at least where channels are uneven, else there is nothing to mend."""

UNEVEN: dict[str, Column] = {
    column.name: column
    for column in (
        Column("static", {"method": "static"}),
        Column("static per tensor", {"method": "static", "weights": {"granularity": "per_tensor"}}),
        Column("static equalized", {"method": "static", "repairs": {"equalize": True}}),
        Column("qat", {"method": "qat"}),
        AUTO,
    )
}
"""For the architecture with uneven channels."""

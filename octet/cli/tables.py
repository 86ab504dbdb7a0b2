"""How tables and their figures look: the one mechanism that every table of the commands is made with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, log10
from typing import TYPE_CHECKING

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

ARROW = " → "
TIMES = "×"  # noqa: RUF001 - the sign for a ratio, on purpose

_NOTHING = Text("-", style="dim")
_FOLDED = 24
"""What a column of text can be folded to before another has to go for it."""
_UNBOUND = 10_000


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: What stands above it.
        right: Whether it is right-aligned.
        folds: Whether a cell takes more lines where there is no room for it in one.
        spare: Whether the column may be left out where there is no room for it; the last such column goes first.
    """

    name: str
    right: bool = False
    folds: bool = False
    spare: bool = False

    @property
    def spared(self) -> Column:
        """The same, where there is room for it."""
        return replace(self, spare=True)


def words(name: str) -> Column:
    """A column of text that folds."""
    return Column(name, folds=True)


def label(name: str) -> Column:
    """A column of short text that stays in one line."""
    return Column(name)


def figure(name: str) -> Column:
    """A column of numbers."""
    return Column(name, right=True)


class Rows:
    """A table that leaves out columns which hold nothing and, where it is too wide, those that can be spared."""

    def __init__(self, *columns: Column, gap: int = 2) -> None:
        self._columns = columns
        self._gap = gap
        self._rows: list[tuple[RenderableType | None, ...]] = []

    def add(self, *cells: RenderableType | None) -> None:
        """A row; None where there is nothing to say. Text is shown as it is, whatever brackets it has."""
        self._rows.append(tuple(Text(cell) if isinstance(cell, str) else cell for cell in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, with the columns that fit."""
        columns = [place for place in range(len(self._columns)) if any(row[place] is not None for row in self._rows)]
        spare = [place for place in columns if self._columns[place].spare]
        unbound = options.update_width(_UNBOUND)
        while spare and Measurement.get(console, unbound, self._table(columns, _FOLDED)).maximum > options.max_width:
            columns.remove(spare.pop())
        yield self._table(columns)

    def _table(self, columns: Iterable[int], folded: int | None = None) -> Table:
        """A table of `columns`, those of text at most `folded` wide."""
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, self._gap, 0, 0))
        for column in (self._columns[place] for place in columns):
            table.add_column(
                column.name,
                justify="right" if column.right else "left",
                no_wrap=not column.folds,
                overflow="fold",
                max_width=folded if column.folds else None,
            )
        for row in self._rows:
            table.add_row(*(_NOTHING if (cell := row[place]) is None else cell for place in columns))
        return table


class Footnotes:
    """Reasons, each with the number it is referred to by."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reason: str | None) -> str:
        """How a cell refers to `reason`."""
        return f" [{self._numbers.setdefault(reason, len(self._numbers) + 1)}]" if reason else ""

    def lines(self) -> Iterable[Text]:
        """All of them, to stand below the table."""
        return [Text(f"[{number}] {reason}", style="dim") for reason, number in self._numbers.items()]


def facts(*named: tuple[str, RenderableType]) -> Table:
    """Facts, each in a line after its name."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for name, value in named:
        grid.add_row(name, value)
    return grid


def lines(cells: Iterable[str]) -> str | None:
    """Several in one cell."""
    return "\n".join(cells) or None


def change(before: str, after: str) -> str:
    """From one figure to another."""
    return before + ARROW + after


def decibels(value: float | None) -> str | None:
    """An SQNR."""
    return None if value is None else f"{value:.1f}"


def percent(value: float | None, digits: int = 1) -> str | None:
    """A fraction of a whole."""
    return None if value is None else f"{value:.{digits}%}"


def three_digits(value: float) -> str:
    """Three digits that tell something."""
    return f"{value:.{max(0, 2 - floor(log10(max(value, 0.01))))}f}"

"""What is shown to people, as lines of text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console, Group

if TYPE_CHECKING:
    from rich.console import RenderableType


def lines(*rendered: RenderableType, width: int = 160) -> list[str]:
    """As a terminal of `width` columns shows it."""
    console = Console(file=io.StringIO(), width=width)
    console.print(Group(*rendered))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]

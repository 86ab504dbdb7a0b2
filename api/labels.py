"""Names come from strangers, and are only ever shown."""

from __future__ import annotations


def one_line(text: str) -> str:
    """What is left of a text without control characters, line ends, and all that turns round the direction of text."""
    return "".join(filter(str.isprintable, text)).strip()

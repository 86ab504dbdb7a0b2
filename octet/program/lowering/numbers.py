"""Bounds the numbers that a graph computes of sizes: Python's have no end, and squares of squares take hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.errors import InvalidModelError
from octet.program.graph import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from octet.program.graph import Node, Value

MAX_BITS = 10_000
"""Of a number in between; a size that torch can make has 63."""
_SIZE_BITS = 64
MAX_EXPONENT = 128
"""Of a power whose exponent is not known beforehand: `leaves.power` takes no greater one."""
_SPACES = frozenset({"_operator", "math", "torch"})


def _power(bits: list[int], operands: list[Value]) -> int:
    exponent = operands[-1]
    return bits[0] * (max(exponent, 1) if isinstance(exponent, int) else MAX_EXPONENT)


def _shift(bits: list[int], operands: list[Value]) -> int:
    places = operands[-1]
    return bits[0] + (max(places, 0) if isinstance(places, int) else MAX_BITS)


# How many bits a result can have, of those of the operands; what is not here gives no more than it takes.
_GROWTH: dict[str, Callable[[list[int], list[Value]], int]] = {
    "_operator.add": lambda bits, _: max(bits) + 1,
    "_operator.sub": lambda bits, _: max(bits) + 1,
    "_operator.mul": lambda bits, _: sum(bits),
    "_operator.pow": _power,
    "_operator.lshift": _shift,
}


class Numbers:
    """Follows the graph call by call, and knows how large each number can become."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}

    def note(self, node: Node) -> None:
        """Notes what a call makes, if it is one of numbers.

        Raises:
            InvalidModelError: If it may be of more than `MAX_BITS`, or is made of something else than numbers.
        """
        if node.target.partition(".")[0] not in _SPACES:
            return
        operands = list(node.args.values())
        if not operands or not all(isinstance(operand, int | float | Ref) for operand in operands):
            raise InvalidModelError(f"{node} is called with something else than numbers.")
        bits = [self._of(operand) for operand in operands]
        grow = _GROWTH.get(node.target)
        made = grow(bits, operands) if grow else max(bits)
        if made > MAX_BITS:
            raise InvalidModelError(f"{node} makes a number that may have more than {MAX_BITS} bits.")
        self._bits.update(dict.fromkeys(node.results, made))

    def _of(self, operand: Value) -> int:
        if isinstance(operand, Ref):
            return self._bits.get(operand.name, _SIZE_BITS)
        return operand.bit_length() if isinstance(operand, int) else _SIZE_BITS

"""What a program does, as data: the torch-free middle between the file's graph and a graph of `nn` modules.

Every name of a module type, function or method in here comes from Octet's own operator table, never from a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octet.program.graph import Node, Ref, Value, Weight


@dataclass(frozen=True, slots=True)
class Module:
    """Calls an `nn` module.

    Attributes:
        type: Its class in `torch.nn`.
        options: Its constructor's arguments.
        weights: Its parameters and buffers, by attribute.
        inputs: What it is called with; a function here is called first.
        results: Where each of the node's results lies in what the module returns, as indices; () is the whole.
        then: A tensor method that is called on its result, and that method's arguments.
    """

    type: str
    options: dict[str, Any]
    weights: dict[str, Ref]
    inputs: tuple[Value | Function, ...]
    results: tuple[tuple[int, ...], ...] = ((),)
    then: tuple[str, tuple[Value, ...]] | None = None

    def values(self) -> tuple[Value, ...]:
        """Everything it is called with; its weights are not among that."""
        inputs = [value.values() if isinstance(value, Function) else (value,) for value in self.inputs]
        return tuple(chain.from_iterable(inputs))


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    args: tuple[Value, ...]
    kwargs: dict[str, Value] = field(default_factory=dict)

    def values(self) -> tuple[Value, ...]:
        """Everything it is called with."""
        return (*self.args, *self.kwargs.values())


class Function(_Call):
    """Calls a function, named by its import path."""

    __slots__ = ()


class Method(_Call):
    """Calls a method of the first argument."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Same:
    """Gives another value on as it is."""

    value: Value


@dataclass(frozen=True, slots=True)
class Nothing:
    """Leaves the call out: it only checked something."""


Expression = Module | Function | Method | Same | Nothing


@dataclass(frozen=True, slots=True)
class Step:
    """One call and the names of the values it makes.

    Attributes:
        expression: The call.
        results: The node's results; a sequence's items, in order, unless `single`.
        path: Of a module call, the module's path.
        call: The file's call that it rebuilds, for errors.
    """

    expression: Module | Function | Method
    results: tuple[str, ...]
    single: bool
    path: str = ""
    call: Node | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole program.

    Attributes:
        inputs: What it takes, by the source's names.
        steps: What it does with them, in order.
        outputs: What it gives, by the source's names.
        updates: Weights that it changes, and the values that they have at the end of a call.
        constants: What is done once, before there is any input: it makes weights of other weights.
        computed: Those weights, by value name, in the form that the file says they have.
    """

    inputs: dict[str, str]
    steps: tuple[Step, ...]
    outputs: dict[str, str]
    updates: dict[str, str] = field(default_factory=dict)
    constants: tuple[Step, ...] = ()
    computed: dict[str, Weight] = field(default_factory=dict)

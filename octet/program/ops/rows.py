"""The kinds of row in the operator table: short ways to say how an operator is rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from octet.errors import InvalidModelError
from octet.program.graph import DType, Graph, Node, Ref, Value, dtype
from octet.program.steps import Expression, Function, Method, Module, Nothing, Same

Rebuild = Callable[[Node, Graph], Expression]


def module(kind: str, **options: Any) -> Rebuild:
    """An `nn` module without weights, called with the first argument.

    `options` are the operator's arguments that the constructor takes under the same name, with their defaults. A whole
    number where the default is a float becomes one, as TorchScript wants it.
    """

    def rebuild(node: Node, _: Graph) -> Expression:
        values = {name: _like(default, node.args.get(name, default)) for name, default in options.items()}
        return Module(kind, values, {}, (node.ref(node.positional[0] if node.positional else "self"),))

    return rebuild


def function(name: str) -> Rebuild:
    """A function that takes what the operator takes, in the same order."""

    def rebuild(node: Node, _: Graph) -> Expression:
        return Function(name, *_arguments(node))

    return rebuild


def method(name: str) -> Rebuild:
    """A tensor method that takes what the operator takes, in the same order."""

    def rebuild(node: Node, _: Graph) -> Expression:
        values, keywords = _arguments(node)
        return Method(name, (node.ref(node.positional[0]), *values[1:]), keywords)

    return rebuild


def operator(name: str) -> Rebuild:
    """The operator itself, for those that have no quantized form to reach."""
    return function(f"torch.ops.aten.{name}")


def leaf(name: str) -> Rebuild:
    """A function of `octet.program.leaves` that takes what the operator takes, in the same order."""
    return function(f"octet.program.leaves.{name}")


def operators(names: str) -> dict[str, Rebuild]:
    """Rows for operators that are rebuilt as themselves; `names` are parted by spaces, with their overloads."""
    return {name: operator(name.partition(".")[0]) for name in names.split()}


def listed(node: Node, name: str) -> list[Value]:
    """An argument that is a list."""
    value = node.required(name)
    if not isinstance(value, list):
        raise InvalidModelError(f"{node}: argument {name!r} is not a list.")
    return value


def result_dtype(node: Node, graph: Graph) -> DType:
    """What the result is; the call itself may leave it to torch's rules."""
    result = node.results[0]
    return DType(dtype(graph.meta(Ref(result)).dtype, result))


def same(node: Node, _: Graph) -> Expression:
    """The first argument, unchanged."""
    return Same(node.args[node.positional[0]])


def nothing(_: Node, __: Graph) -> Expression:
    """No call at all: the operator only asserts something of sizes that Octet leaves open."""
    return Nothing()


def _like(default: Value, value: Value) -> Value:
    return float(value) if isinstance(default, float) and isinstance(value, int) else value


def _arguments(node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
    keywords = {name: value for name, value in node.args.items() if name not in node.positional}
    return tuple(node.args[name] for name in node.positional), keywords

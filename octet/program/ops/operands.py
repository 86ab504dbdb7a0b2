"""What a row reads of a call: the weights it may own, and arguments that have to be numbers or tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.errors import InvalidModelError
from octet.program.graph import Ref

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node


def weights_of(node: Node, graph: Graph, *names: str) -> dict[str, Ref] | None:
    """The named arguments that are given, if all of them are weights, of the file or computed of such; else None."""
    given = {name: node.args[name] for name in names if node.args.get(name) is not None}
    found = {name: value for name, value in given.items() if isinstance(value, Ref) and graph.weight(value)}
    return found if len(found) == len(given) else None


def shape_of(graph: Graph, ref: Ref, rank: int) -> tuple[int, ...]:
    """The sizes of a weight that must have `rank` dimensions."""
    weight = graph.weight(ref)
    if weight is None or len(weight.shape) != rank:
        raise InvalidModelError(f"The weight {ref.name!r} does not have {rank} dimensions.")
    return weight.shape


def ranks(graph: Graph, weights: dict[str, Ref]) -> list[int]:
    """How many dimensions each of these weights has."""
    return [len(weight.shape) for weight in map(graph.weight, weights.values()) if weight]


def channels_of(graph: Graph, ref: Ref) -> int | None:
    """The second size of a tensor, if it has one that is a number."""
    sizes = graph.meta(ref).sizes
    return sizes[1].as_int if len(sizes) > 1 else None


def integer(node: Node, name: str, default: int) -> int:
    """An argument that is a number."""
    value = node.args.get(name, default)
    if not isinstance(value, int):
        raise InvalidModelError(f"{node}: argument {name!r} is not a number.")
    return value


def sizes_of(node: Node, name: str, default: int, dims: int) -> tuple[int, ...]:
    """One number for each dimension; the graph may give one for all."""
    value = node.args.get(name, default)
    given = list(value) if isinstance(value, list) else [value]
    sizes = [size for size in given if isinstance(size, int)]
    if len(sizes) != len(given) or len(sizes) not in {1, dims}:
        raise InvalidModelError(f"{node}: argument {name!r} is not {dims} numbers.")
    return tuple(sizes if len(sizes) == dims else sizes * dims)


def tensors_of(node: Node, name: str) -> list[Ref]:
    """An argument that is a list of tensors."""
    value = node.required(name)
    found = [item for item in value if isinstance(item, Ref)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(found) != len(value):
        raise InvalidModelError(f"{node}: argument {name!r} is not a list of tensors.")
    return found

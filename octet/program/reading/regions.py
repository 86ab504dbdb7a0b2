"""Takes regions apart: torch.export keeps what runs under `torch.no_grad` or `torch.autocast` as a graph in a graph.

Neither means anything here (modules come out in eval mode, and all is computed in float32), so their calls join those
around them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from octet.errors import InvalidModelError
from octet.program.graph import Ref
from octet.program.pt2 import schema
from octet.program.reading.arguments import argument_value, node_of, one_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octet.program.graph import Node, Value

HIGHER_ORDER = "torch.ops.higher_order."
REGIONS = frozenset(f"{HIGHER_ORDER}{name}" for name in ("wrap_with_set_grad_enabled", "wrap_with_autocast"))

MAX_DEPTH = 4
"""Regions in regions: each level is parsed again, and makes every name in it longer."""


def read_nodes(graph: schema.Graph, metas: dict[str, schema.TensorMeta], depth: int = 0) -> Iterator[Node]:
    """The calls of a graph in order, those of its regions among them; adds the forms of their values to `metas`."""
    if depth > MAX_DEPTH:
        raise InvalidModelError(f"The model has graphs inside graphs, more than {MAX_DEPTH} deep.")
    for node in graph.nodes:
        if node.target in REGIONS:
            yield from _region(node, metas, depth)
        elif node.target.startswith(HIGHER_ORDER):  # one that is no region: the table refuses it by name
            yield _without_inputs(node)
        else:
            yield node_of(node)


def _region(node: schema.Node, metas: dict[str, schema.TensorMeta], depth: int) -> Iterator[Node]:
    """The calls of a region, its inner names made unique by the region's, then one alias for each of its results."""
    outer = _without_inputs(node)
    inner, operands = _inner(node)
    prefix = "_".join(outer.results[:1]) + "."
    inputs = [_name(argument) for argument in inner.inputs]
    outputs = [value for value in map(argument_value, inner.outputs) if value is not None]
    if len(inputs) != len(operands) or len(outputs) != len(outer.results):
        raise InvalidModelError(f"{node.target} has other inputs or outputs than the graph in it.")
    names: dict[str, Value] = dict(zip(inputs, operands, strict=True))
    for call in read_nodes(inner, metas, depth + 1):
        names.update((result, Ref(prefix + result)) for result in call.results)
        args = {name: _renamed(value, names) for name, value in call.args.items()}
        yield replace(call, args=args, results=tuple(prefix + result for result in call.results))
    metas.update((prefix + name, meta) for name, meta in inner.tensor_values.items())
    for result, output in zip(outer.results, outputs, strict=True):
        args = {"self": _renamed(output, names)}
        yield replace(
            outer, target="aten.alias.default", args=args, positional=("self",), results=(result,), single=True
        )


def _without_inputs(node: schema.Node) -> Node:
    """A call without what it is called with, which has no names."""
    return node_of(node.model_copy(update={"inputs": ()}))


def _inner(node: schema.Node) -> tuple[schema.Graph, list[Value]]:
    """The graph that a region's call carries, and what it is called with."""
    kinds = [one_key(argument.arg, "an argument")[0] for argument in node.inputs]
    if kinds.count("as_graph") != 1:
        raise InvalidModelError(f"{node.target} has {kinds.count('as_graph')} graphs instead of one.")
    at = kinds.index("as_graph")
    body = node.inputs[at].arg["as_graph"]
    graph = body.get("graph") if isinstance(body, dict) else None
    inner = schema.parse(schema.Graph, json.dumps(graph), f"The graph in {node.target}")
    return inner, [argument_value(argument.arg) for argument in node.inputs[at + 1 :]]


def _name(argument: dict[str, Any]) -> str:
    value = argument_value(argument)
    if not isinstance(value, Ref):
        raise InvalidModelError("A graph inside the graph has an input that is no value.")
    return value.name


def _renamed(value: Value, names: dict[str, Value]) -> Value:
    if isinstance(value, Ref):
        if value.name not in names:
            raise InvalidModelError(f"A graph inside the graph uses {value.name!r} before anything makes it.")
        return names[value.name]
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value

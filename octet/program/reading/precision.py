"""Brings a model to float32, in which int8 models are made and CPUs compute, and says so.

Half precision always becomes float32. Double precision does where parameters have it; a model that merely computes
positions or times in it goes on doing so.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from octet.program.graph import DType, Graph, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

# Numbers of the export schema.
_HALF, _DOUBLE, _BFLOAT16 = 6, 8, 13
_SINGLE_OF = {_DOUBLE: 7, 11: 10}
_SINGLE = {"float64": "float32", "complex128": "complex64"}
LARGEST = math.ldexp(2 - 2**-23, 127)
"""The largest finite float32."""


def in_float32(graph: Graph) -> Graph:
    """The graph with double precision made single, if it is a model of double precision; notes what will be float32."""
    double = any(weight.kind == "parameter" and weight.meta.dtype == _DOUBLE for weight in graph.weights.values())
    names = {_HALF: "float16", _BFLOAT16: "bfloat16", **({_DOUBLE: "float64"} if double else {})}
    for code, name in names.items():
        if places := list(_places(graph, code)):
            graph.notes.append(f"The model has {' and '.join(places)} in {name}: they were brought to float32.")
    if not double:
        return graph
    metas = {
        name: meta.model_copy(update={"dtype": _SINGLE_OF.get(meta.dtype, meta.dtype)})
        for name, meta in graph.metas.items()
    }
    nodes = (replace(node, args={name: _single(value) for name, value in node.args.items()}) for node in graph.nodes)
    return replace(graph, metas=metas, nodes=tuple(nodes))


def _places(graph: Graph, code: int) -> Iterator[str]:
    """What of a model has the dtype."""
    found = {name for name, meta in graph.metas.items() if meta.dtype == code}
    for place, names in (("weights", graph.weights.keys()), ("inputs", set(graph.inputs))):
        if found & names:
            yield place
    if found - graph.weights.keys() - set(graph.inputs):
        yield "intermediate values"


def _single(value: Value) -> Value:
    """An argument in single precision: its dtype, and numbers that only a double can be, such as those of a mask."""
    if isinstance(value, list):
        return [_single(item) for item in value]
    if isinstance(value, DType):
        return DType(_SINGLE.get(value.name, value.name))
    if isinstance(value, float) and math.isfinite(value):
        return max(-LARGEST, min(LARGEST, value))
    return value

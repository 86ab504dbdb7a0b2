"""Tells the weights that a program changes as it runs, its state, from those it only reads.

A counter, a cache, a moving average: what such a buffer holds at the end of a call is what the next call starts with.
The statistics of a norm are none: they change only while it is trained, which the rebuilt module does by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from octet.program.graph import Graph, Ref, enumerated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octet.program.graph import Value

_STATISTICS = ("running_mean", "running_var")
_COUNTER = "num_batches_tracked"


def with_states(graph: Graph) -> Graph:
    """The graph, what it changes taken out of its weights, so that no module takes it for one of its own."""
    statistics = set(_statistics(graph))
    updates = {
        name: value
        for name, value in graph.updates.items()
        if graph.weights[name].name not in statistics and value != Ref(name) and not _settled(graph, value)
    }
    states = {name: weight for name, weight in graph.weights.items() if name in updates}
    if not states:
        return replace(graph, updates={})
    changed = enumerated([weight.name for weight in states.values()])
    graph.notes.append(f"The model changes {changed} as it runs: what it gives depends on the calls before.")
    weights = {name: weight for name, weight in graph.weights.items() if name not in states}
    return replace(graph, weights=weights, states=states, updates=updates)


def _settled(graph: Graph, value: Value) -> bool:
    """Whether a weight is overwritten with the same at each call, as one is whose rows have a greatest norm."""
    maker = graph.producer(value)
    while maker is not None and maker.target == "aten.alias.default":
        maker = graph.producer(maker.args.get("self"))
    return maker is not None and maker.target == "aten.embedding_renorm.default"


def _statistics(graph: Graph) -> Iterator[str]:
    """The names of all buffers that norms keep statistics in."""
    for node in graph.nodes:
        for argument in _STATISTICS:
            weight = graph.weight(node.args.get(argument))
            if weight is not None:
                yield weight.name
                yield f"{weight.name.rpartition('.')[0]}.{_COUNTER}".lstrip(".")

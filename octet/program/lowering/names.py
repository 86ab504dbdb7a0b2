"""Gives each module of a plan the path it has in the source model, and tells which calls are of one module."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from keyword import iskeyword
from typing import TYPE_CHECKING

from octet.program.steps import Module, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from octet.program.graph import Graph, Node

MAX_DEPTH = 32
"""Containers around a module; each is remembered by its whole path, so a file may not name thousands."""

_PARAMETRIZED = re.compile(r"\bparametrizations\.(\w+)\.\w.*$")
_NOT_AN_IDENTIFIER = re.compile(r"[^A-Za-z0-9_.]+")


def name_modules(steps: list[tuple[Step, Node]], graph: Graph, containers: Iterable[str]) -> tuple[Step, ...]:
    """The steps, those that call a module with its path.

    Calls with the same weights and options are calls of one module, as are calls of a stateless module that the source
    itself calls twice. A path is the source's own if the source has a module of that kind there; a functional call
    inside a container is named after the operator, inside the container.
    """
    names = _Names(graph, containers)
    keys = [_key(step.expression, node) if isinstance(step.expression, Module) else None for step, node in steps]
    # Modules that the source has come first, so that a functional call never takes their place.
    for rank in range(_RANKS):
        for (step, node), key in zip(steps, keys, strict=True):
            if key is not None and isinstance(step.expression, Module):
                names.offer(rank, key, step.expression, node)
    return tuple(
        step if key is None else replace(step, path=names.paths[key])
        for (step, _), key in zip(steps, keys, strict=True)
    )


_RANKS = 3


def _key(module: Module, node: Node) -> str:
    """Equal for calls of one module."""
    if module.weights:
        return repr((module.type, module.options, module.weights))
    if node.module_type == module.type:
        return repr((module.type, module.options, node.module))
    return repr((module.type, node.results))


class _Names:
    def __init__(self, graph: Graph, containers: Iterable[str]) -> None:
        self.paths: dict[str, str] = {}
        self._graph = graph
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()  # by path; counting anew would take the square of the calls
        # What torch.nn.utils.parametrize puts inside a layer does not make a container of it.
        layers = (path.partition(".parametrizations")[0] for path in containers)
        self._containers = {parent for path in layers for parent in _parents(path)[:MAX_DEPTH]}

    def offer(self, rank: int, key: str, module: Module, node: Node) -> None:
        """Names the module of `key` if this rank of reasons gives it a name."""
        if key in self.paths:
            return
        path = _RULES[rank](self._graph, module, node)
        if path is not None:
            words = (word for word in _NOT_AN_IDENTIFIER.sub("_", path).split(".") if word)
            # torch.fx writes paths into Python code, where a keyword is no attribute.
            parts = [f"{word}_" if iskeyword(word) else word for word in words]
            plain = ".".join([*parts[:MAX_DEPTH], "_".join(parts[MAX_DEPTH:])]).rstrip(".")
            self.paths[key] = self._free(plain, module)

    def _free(self, path: str, module: Module) -> str:
        """`path`, or the nearest to it that no other module has, is inside of, or contains."""
        if not path or path in self._containers:
            path = f"{path}.{module.type.lower()}".lstrip(".")
        for parent in _parents(path):
            if parent in self._taken:
                path = parent + "_" + path[len(parent) + 1 :].replace(".", "_")
                break
        free = path
        while free in self._taken or free in self._containers:
            self._numbers[path] += 1
            free = f"{path}_{self._numbers[path]}"
        self._taken.add(free)
        self._containers.update(_parents(free))
        return free


def _declared(_: Graph, module: Module, node: Node) -> str | None:
    """The source has a module of this very kind there."""
    return node.module if node.module_type == module.type else None


def _owner(graph: Graph, module: Module, _: Node) -> str | None:
    """The source keeps the weight there: `a.weight` gives `a`, `a.in_proj_weight` gives `a.in_proj`.

    What it is computed of may lie deeper: `a.weight_orig` and `a.parametrizations.weight.original0` give `a` too.
    """
    weight = graph.weight(next(iter(module.weights.values()), None))
    if weight is None or not weight.name:
        return None
    return re.sub(r"[._]?(weight|running_mean)(_\w+)?$", "", _PARAMETRIZED.sub(r"\1", weight.name))


def _inside(_: Graph, module: Module, node: Node) -> str:
    """A functional call: named after the operator, in the module that makes it."""
    return f"{node.module}.{module.type.lower()}".lstrip(".")


_RULES = (_declared, _owner, _inside)


def _parents(path: str) -> list[str]:
    """The strict prefixes of a path, shortest first."""
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]

"""What will become of each layer of a plan, said before anything is done to it. Needs no torch."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, get_args

from octet.engines import EngineName
from octet.kernels import FOLDS, LayerForm, kernel_of, usual_method, why_float
from octet.program.graph import Ref, refs
from octet.program.steps import Function, Module
from octet.recipe import Int8Method
from octet.spec import Outlook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octet.program.graph import Graph, Value
    from octet.program.steps import Plan, Step


def outlooks(plan: Plan, graph: Graph) -> dict[str, tuple[Outlook, ...]]:
    """By module path; a layer that is called several times goes by its first call."""
    first: dict[str, Step] = {}
    for step in plan.steps:
        if isinstance(step.expression, Module):
            first.setdefault(step.path, step)
    homes = _homes(plan)
    share = cache(_outlook)  # layers that fare alike share one tuple: there may be thousands
    found = {}
    for path in first:
        home = first[homes.get(path, path)]
        assert isinstance(home.expression, Module)  # noqa: S101 -- only those are in `first`
        form = LayerForm(home.expression.type, home.expression.options, _rank(home.expression, graph))
        found[path] = share(tuple(_fates(form)))
    return found


_Fate = tuple[Int8Method, EngineName, str, str | None]


def _fates(form: LayerForm) -> Iterator[_Fate]:
    for method in get_args(Int8Method):
        done = usual_method(form.type, method)
        for engine in get_args(EngineName):
            reason = why_float(form, kernel_of(done), engine)
            yield method, engine, "float" if reason else done, reason


def _outlook(fates: tuple[_Fate, ...]) -> tuple[Outlook, ...]:
    """One for each method and each thing that comes of it, with the engines of which it is true."""
    engines: dict[tuple[Int8Method, str, str | None], list[EngineName]] = {}
    for method, engine, runs, reason in fates:
        engines.setdefault((method, runs, reason), []).append(engine)
    return tuple(
        Outlook(method=method, engines=tuple(which), runs=runs, reason=reason)
        for (method, runs, reason), which in engines.items()
    )


def _homes(plan: Plan) -> dict[str, str]:
    """Path of each batch norm that will be folded -> path of the layer that it will be part of."""
    readers = Counter(ref.name for step in plan.steps for ref in refs(list(step.expression.values())))
    readers.update(plan.outputs.values())
    makers = {step.results[0]: step for step in plan.steps if isinstance(step.expression, Module)}
    homes: dict[str, str] = {}
    for step in plan.steps:
        source = _source(step.expression) if isinstance(step.expression, Module) else None
        maker = makers.get(source.name) if source else None
        if maker and source and readers[source.name] == 1 and _type(maker) in FOLDS.get(_type(step), ()):
            homes.setdefault(step.path, maker.path)
    return homes


def _type(step: Step) -> str:
    return step.expression.type if isinstance(step.expression, Module) else ""


def _source(module: Module) -> Ref | None:
    """The value that a layer is called with first."""
    value: Value | Function = module.inputs[0]
    while isinstance(value, Function):
        value = value.args[0]
    return value if isinstance(value, Ref) else None


def _rank(module: Module, graph: Graph) -> int | None:
    source = _source(module)
    return graph.rank(source) if source and source.name in graph.metas else None

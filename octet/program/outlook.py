"""What will become of each layer of a plan, said before anything is done to it. Needs no torch."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

from octet.engines import EngineName
from octet.folding import NORM_CHANNEL, NORMS, Move, moved_channel, output_channel
from octet.kernels import WEIGHTED, LayerForm, kernel_of, usual_method, why_float
from octet.program.graph import Ref, refs
from octet.program.steps import Function, Method, Module
from octet.recipe import Int8Method
from octet.spec import Outlook

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from octet.program.graph import Graph, Value
    from octet.program.steps import Plan, Step


def outlooks(plan: Plan, graph: Graph) -> dict[str, tuple[Outlook, ...]]:
    """By module path; a layer that is called several times goes by its first call."""
    first: dict[str, Step] = {}
    for step in plan.steps:
        if isinstance(step.expression, Module):
            first.setdefault(step.path, step)
    homes = _homes(plan, graph)
    share = cache(_outlook)  # layers that fare alike share one tuple: there may be thousands
    found = {}
    for path in first:
        home = first[homes.get(path, path)]
        assert isinstance(home.expression, Module)  # noqa: S101 -- only those are in `first`
        form = LayerForm(home.expression.type, home.expression.options, _rank(home.expression, graph))
        found[path] = share(tuple(_fates(form)))
    return found


_Call = Module | Function | Method
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


def _homes(plan: Plan, graph: Graph) -> dict[str, str]:
    """Path of each batch norm that will be folded -> path of the layer that it will be part of."""
    readers = Counter(ref.name for step in plan.steps for ref in refs(list(step.expression.values())))
    readers.update(plan.outputs.values())
    makers = {step.results[0]: step for step in plan.steps if len(step.results) == 1}
    homes: dict[str, str] = {}
    for step in plan.steps:
        if _type(step) in NORMS and (home := _layer_before(step, makers, readers, graph)):
            homes.setdefault(step.path, home.path)
    return homes


def _layer_before(norm: Step, makers: Mapping[str, Step], readers: Mapping[str, int], graph: Graph) -> Step | None:
    """The layer that can do what `norm` does, if there is one."""
    moves: list[Move] = []
    ref = _source(norm.expression)
    while (maker := makers.get(ref.name) if ref else None) and ref and readers[ref.name] == 1:
        if _type(maker) in WEIGHTED:
            return maker if _channel(maker, moves, graph) == NORM_CHANNEL else None
        source = _source(maker.expression)
        if source is None:
            return None
        moves.append(_move(maker.expression, _sizes(source, graph), _sizes(ref, graph)))
        ref = source
    return None


def _channel(layer: Step, moves: list[Move], graph: Graph) -> int | None:
    """The dimension where the channels of `layer` are after `moves`, the last of them first."""
    channel: int | None = output_channel(_type(layer), len(_sizes(Ref(layer.results[0]), graph)))
    for move in reversed(moves):
        channel = None if channel is None else moved_channel(move, channel)
    return channel


def _move(call: _Call, before: tuple[Any, ...], after: tuple[Any, ...]) -> Move:
    if isinstance(call, (Function, Method)):
        return Move(call.name.rpartition(".")[2], call.args[1:], call.kwargs, before, after)
    return Move(call.type, before=before, after=after)


def _sizes(value: Ref, graph: Graph) -> tuple[Any, ...]:
    return tuple(graph.metas[value.name].sizes) if value.name in graph.metas else ()


def _type(step: Step) -> str:
    return step.expression.type if isinstance(step.expression, Module) else ""


def _source(call: _Call) -> Ref | None:
    """The value that a call is given first."""
    value: Value | Function = call.inputs[0] if isinstance(call, Module) else next(iter(call.values()), None)
    while isinstance(value, Function):
        value = value.args[0]
    return value if isinstance(value, Ref) else None


def _rank(module: Module, graph: Graph) -> int | None:
    source = _source(module)
    return graph.rank(source) if source and source.name in graph.metas else None

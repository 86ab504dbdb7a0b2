"""Turns a graph into a plan by way of the operator table. Needs no torch: a model is accepted or refused here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from octet.errors import InvalidModelError, UnsupportedOperatorError
from octet.program import ops
from octet.program.graph import Graph, Node, Ref, Value, enumerated, refs
from octet.program.lowering.computed import Computed
from octet.program.lowering.names import name_modules
from octet.program.lowering.numbers import Numbers
from octet.program.lowering.states import with_states
from octet.program.lowering.writes import without_writes
from octet.program.ops import refused
from octet.program.ops.rows import operator
from octet.program.steps import Expression, Method, Module, Nothing, Plan, Same, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def lower(graph: Graph, containers: Iterable[str]) -> Plan:
    """The plan of a graph.

    Args:
        graph: What the file says.
        containers: Paths of the source's modules.

    Raises:
        UnsupportedOperatorError: With each operator that the table lacks, and where it is called.
        InvalidModelError: If an operator is called in a way it cannot be.
    """
    _refuse_unknown(graph)
    _note_training(graph)
    graph = with_states(without_writes(graph))
    graph.read.update(ref.name for ref in refs(list(graph.updates.values())))
    lowering = _Lowering(graph)
    for node in graph.nodes:
        lowering.add(node)
    outputs = dict(lowering.outputs())
    if not outputs:
        raise InvalidModelError("What the model returns is not a tensor.", hint="Return one tensor at least.")
    updates = dict(lowering.updates())
    steps = _needed(lowering.steps, [*outputs.values(), *updates.values()])
    owned = {ref.name for step, _ in steps for ref in _weights(step)}
    computed = {name: weight for name, weight in graph.computed.items() if name in owned}
    constants = tuple(step for step, _ in _needed(lowering.steps, computed, _weights))
    inputs = dict(zip(graph.input_names, graph.inputs, strict=True))
    return Plan(inputs, name_modules(steps, graph, containers), outputs, updates, constants, computed)


class _Lowering:
    """Lowers node by node, keeping which value now stands for which."""

    def __init__(self, graph: Graph) -> None:
        self.steps: list[tuple[Step, Node]] = []
        self._graph = graph
        self._values: dict[str, Value] = dict(graph.constants)
        self._computed = Computed(graph)
        self._numbers = Numbers()

    def add(self, node: Node) -> None:
        """Appends the step of a node, if it takes one."""
        resolved = replace(node, args={name: self.resolve(value) for name, value in node.args.items()})
        self._numbers.note(resolved)
        expression = _rebuild(resolved, self._graph)
        if isinstance(expression, Same):
            self._values.update(dict.fromkeys(node.results, expression.value))
        elif isinstance(expression, Nothing):
            pass
        elif twins := self._computed.note(resolved, expression):
            self._values.update((name, self.resolve(Ref(twin))) for name, twin in zip(node.results, twins, strict=True))
        else:
            self.steps.extend((step, node) for step in self._layouts())
            self.steps.append((Step(expression, node.results, node.single, call=node), node))

    def outputs(self) -> Iterator[tuple[str, str]]:
        """The tensors that the model returns; notes what else it returns."""
        others = []
        for name, output in self._graph.outputs.items():
            value = self.resolve(output)
            if isinstance(value, Ref) and value.name in self._graph.metas:
                yield name, value.name
            elif value is not None:
                others.append(name)
        if others:
            self._graph.notes.append(f"Left out of the outputs, since not a tensor: {enumerated(others)}.")

    def updates(self) -> Iterator[tuple[str, str]]:
        """Each state, and the value that it has at the end of a call."""
        for name, new in self._graph.updates.items():
            value = self.resolve(new)
            if not isinstance(value, Ref):
                raise InvalidModelError(f"The graph changes {self._graph.states[name].name!r} to what is no tensor.")
            yield name, value.name

    def _layouts(self) -> Iterator[Step]:
        """The steps that lay weights out as the last expression takes them."""
        while self._graph.layouts:
            name, (weight, order, sizes) = self._graph.layouts.popitem()
            ordered = f"{name}, in order"
            yield Step(Method("permute", (weight, *order)), (ordered,), single=True)
            yield Step(Method("reshape", (Ref(ordered), *sizes)), (name,), single=True)

    def resolve(self, value: Value) -> Value:
        """`value` with every reference replaced by what it stands for now: a step's result, a weight or an input."""
        if isinstance(value, Ref):
            return self._values.get(value.name, value)
        return [self.resolve(item) for item in value] if isinstance(value, list) else value


def _rebuild(node: Node, graph: Graph) -> Expression:
    try:
        expression = ops.OPS[ops.canonical(node.target)](node, graph)
    except (IndexError, KeyError):
        raise InvalidModelError(f"{node} lacks an argument.") from None
    if isinstance(expression, Module) and any(refs(list(expression.options.values()))):
        packet = ops.canonical(node.target).split(".")[1]  # a module is made of numbers: none of them may be open
        expression = operator(packet)(node, graph)
    if isinstance(expression, Module) and not graph.read.isdisjoint(node.results[len(expression.results) :]):
        raise InvalidModelError(f"{node} has more results than it can have.")
    return expression


def _weights(step: Step) -> Iterable[Ref]:
    return step.expression.weights.values() if isinstance(step.expression, Module) else ()


def _needed(
    steps: list[tuple[Step, Node]], names: Iterable[str], besides: Callable[[Step], Iterable[Ref]] = lambda _: ()
) -> list[tuple[Step, Node]]:
    """The steps that these values depend on, by what each is called with and what it reads `besides`."""
    needed = set(names)
    kept = []
    for step, node in reversed(steps):
        if needed.isdisjoint(step.results):
            continue
        needed.update(ref.name for ref in (*refs(step.expression.values()), *besides(step)))
        kept.append((step, node))
    return kept[::-1]


def _note_training(graph: Graph) -> None:
    """Notes that a model was exported in train mode: it has dropout that drops, or statistics that it updates."""
    for node in graph.nodes:
        drops = node.args.get("train") is True or node.args.get("dropout_p")
        keeps = node.args.get("running_mean") is not None
        if drops or (keeps and (node.args.get("training") or node.args.get("use_input_stats"))):
            graph.notes.append(f"{node} was exported in train mode: the model is read as what it is in eval mode.")
            return


def _refuse_unknown(graph: Graph) -> None:
    unknown: dict[str, Node] = {}
    for node in graph.nodes:
        if ops.canonical(node.target) not in ops.OPS:
            unknown.setdefault(node.target, node)
    if unknown:
        reasons = {refused.refusal(target): None for target in unknown}
        places = "; ".join(f"{node} {refused.refusal(target).why}" for target, node in unknown.items())
        raise UnsupportedOperatorError(
            f"The model uses {len(unknown)} operator{'s'[: len(unknown) > 1]} that Octet cannot rebuild: {places}.",
            hint=" ".join(reason.hint for reason in reasons),
        )

"""Turns a graph into a plan by way of the operator table. Needs no torch: a model is accepted or refused here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from octet.errors import InvalidModelError, UnsupportedOperatorError
from octet.program import ops
from octet.program.computed import Computed
from octet.program.graph import Graph, Node, Ref, Value, refs
from octet.program.memory import Memory
from octet.program.names import name_modules
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
    lowering = _Lowering(graph)
    for position, node in enumerate(graph.nodes):
        lowering.add(position, node)
    outputs = tuple(_output(lowering.resolve(output)) for output in graph.outputs if output is not None)
    if not outputs:
        raise InvalidModelError("The model returns no tensor.")
    steps = _needed(lowering.steps, outputs)
    owned = {ref.name for step, _ in steps for ref in _weights(step)}
    computed = {name: weight for name, weight in graph.computed.items() if name in owned}
    constants = tuple(step for step, _ in _needed(lowering.steps, computed, _weights))
    return Plan(graph.inputs, name_modules(steps, graph, containers), outputs, constants, computed)


class _Lowering:
    """Lowers node by node, keeping which value now stands for which."""

    def __init__(self, graph: Graph) -> None:
        self.steps: list[tuple[Step, Node]] = []
        self._graph = graph
        self._values: dict[str, Value] = dict(graph.constants)
        self._memory = Memory(graph)
        self._computed = Computed(graph)

    def add(self, position: int, node: Node) -> None:
        """Appends the step of a node, if it takes one."""
        resolved = replace(node, args={name: self.resolve(value) for name, value in node.args.items()})
        expression = _rebuild(resolved, self._graph)
        if isinstance(expression, Same):
            self._values.update(dict.fromkeys(node.results, expression.value))
        elif twins := self._computed.note(resolved):
            self._values.update((name, self.resolve(Ref(twin))) for name, twin in zip(node.results, twins, strict=True))
        elif not isinstance(expression, Nothing):
            self.steps.extend((step, node) for step in self._transposes())
            self.steps.append((Step(expression, node.results, node.single), node))
            if ops.in_place(node.target):
                overwritten = self._memory.overwritten(position, node)
                self._values.update(dict.fromkeys(overwritten, Ref(node.results[0])))
        self._memory.add(node)

    def _transposes(self) -> Iterator[Step]:
        """The steps that make what the last expression takes transposed."""
        while self._graph.transposes:
            name, matrix = self._graph.transposes.popitem()
            yield Step(Method("transpose", (matrix, 0, 1)), (name,), single=True)

    def resolve(self, value: Value) -> Value:
        """`value` with every reference replaced by what it stands for now: a step's result, a weight or an input."""
        if isinstance(value, Ref):
            return self._values.get(value.name, value)
        return [self.resolve(item) for item in value] if isinstance(value, list) else value


def _rebuild(node: Node, graph: Graph) -> Expression:
    try:
        expression = ops.OPS[ops.canonical(node.target)](node, graph)
    except (IndexError, KeyError):
        raise InvalidModelError(f"{node.target} in module {node.module!r} lacks an argument.") from None
    if isinstance(expression, Module) and len(expression.results) < len(node.results):
        raise InvalidModelError(f"{node.target} in module {node.module!r} has more results than it can have.")
    return expression


def _output(value: Value) -> str:
    if not isinstance(value, Ref):
        raise InvalidModelError("The model returns something that is not a tensor.", hint="Return tensors only.")
    return value.name


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


def _refuse_unknown(graph: Graph) -> None:
    unknown: dict[str, Node] = {}
    for node in graph.nodes:
        if ops.canonical(node.target) not in ops.OPS:
            unknown.setdefault(node.target, node)
    if unknown:
        places = "; ".join(f"{target} ({_place(node)})" for target, node in unknown.items())
        raise UnsupportedOperatorError(
            f"The model uses {len(unknown)} operator{'s'[: len(unknown) > 1]} that Octet cannot rebuild: {places}.",
            hint="Replace it in the source, or leave that part out of the exported model.",
        )


def _place(node: Node) -> str:
    """Module path and source line of a call, as far as the file records them."""
    frames = [line.strip() for line in node.trace.splitlines()]
    lines = [(frame, code) for frame, code in zip(frames, [*frames[1:], ""], strict=True) if frame.startswith('File "')]
    own = [pair for pair in lines if "/torch/nn/" not in pair[0]] or lines
    module = f"module {node.module!r}" if node.module else "the model's own forward"
    if not own:
        return module
    frame, code = own[-1]
    _, file, rest = frame.split('"', 2)
    line = rest.removeprefix(", line ").split(",")[0]
    return f"{module}, {file}:{line}: {code[:120]}"

"""Turns a graph into a plan by way of the operator table. Needs no torch: a model is accepted or refused here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from octet.errors import InvalidModelError, UnsupportedOperatorError
from octet.program import ops
from octet.program.graph import Graph, Node, Ref, Value, refs
from octet.program.memory import Memory
from octet.program.names import name_modules
from octet.program.steps import Expression, Module, Nothing, Plan, Same, Step

if TYPE_CHECKING:
    from collections.abc import Iterable


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
    return Plan(graph.inputs, name_modules(steps, graph, containers), outputs)


class _Lowering:
    """Lowers node by node, keeping which value now stands for which."""

    def __init__(self, graph: Graph) -> None:
        self.steps: list[tuple[Step, Node]] = []
        self._graph = graph
        self._values: dict[str, Value] = dict(graph.constants)
        self._memory = Memory(graph)

    def add(self, position: int, node: Node) -> None:
        """Appends the step of a node, if it takes one."""
        resolved = replace(node, args={name: self.resolve(value) for name, value in node.args.items()})
        expression = _rebuild(resolved, self._graph)
        if isinstance(expression, Same):
            self._values.update(dict.fromkeys(node.results, expression.value))
        elif not isinstance(expression, Nothing):
            self.steps.append((Step(expression, node.results, node.single), node))
            if ops.in_place(node.target):
                overwritten = self._memory.overwritten(position, node)
                self._values.update(dict.fromkeys(overwritten, Ref(node.results[0])))
        self._memory.add(node)

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


def _needed(steps: list[tuple[Step, Node]], outputs: tuple[str, ...]) -> list[tuple[Step, Node]]:
    """The steps whose results the outputs depend on."""
    needed = set(outputs)
    kept = []
    for step, node in reversed(steps):
        if needed.isdisjoint(step.results):
            continue
        needed.update(ref.name for ref in refs(step.expression.values()))
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

"""What to leave in float where an int8 kernel is missing.

FX graph mode picks operations by pattern, not by whether the engine has a kernel for them with these arguments. So
the conversion is rehearsed on one small batch; what fails is found, left in float, and the rehearsal repeated.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter

from octet import torchscript
from octet.errors import QuantizationFailedError
from octet.quantization.graph_mode import SOURCE, convert, prepare

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

    from octet.quantization.plan import FunctionCall, Plan, Unit
    from octet.quantization.qconfigs import QConfigs
    from octet.recipe import Recipe

MOST_FALLBACKS = 64
"""Rehearsals before a job is given up: more units than any model seen has needed."""


class ConversionError(Exception):
    """An int8 model could not be built or does not run.

    Attributes:
        node: Where in the int8 graph it failed, if it got that far.
    """

    def __init__(self, cause: Exception, node: Node | None = None) -> None:
        super().__init__(_first_line(cause))
        self.node = node


def realize(observed: GraphModule, recipe: Recipe, inputs: tuple[Tensor, ...]) -> tuple[GraphModule, Any]:
    """The int8 model of `observed`, eager and scripted, after both have run on `inputs`.

    Raises:
        ConversionError: If it cannot be converted, run or scripted.
    """
    tracker: _Tracker | None = None
    # Whatever torch raises here, and it raises nearly every kind, has one meaning: not in int8, not this way. Only a
    # warning that was made an error means something else.
    try:
        int8 = convert(observed, recipe)
        with torch.no_grad():
            tracker = _Tracker(int8)
            tracker.run(*inputs)
            scripted = torchscript.script(int8)
            scripted(*inputs)
    except Warning:
        raise
    except Exception as error:
        raise ConversionError(error, tracker.node if tracker else None) from error
    return int8, scripted


def settle(module: GraphModule, plan: Plan, qconfigs: QConfigs, recipe: Recipe, inputs: tuple[Tensor, ...]) -> Plan:
    """`plan` with in float whatever has no int8 kernel.

    Raises:
        QuantizationFailedError: If it cannot be made to run.
    """
    for _ in range(MOST_FALLBACKS):
        failure = _rehearse(module, plan, qconfigs, recipe, inputs)
        if failure is None:
            return plan
        unit = _blame(failure.node, plan) or _search(module, plan, qconfigs, recipe, inputs)
        if unit is None:
            raise QuantizationFailedError(f"The model cannot be made int8: {failure}.") from failure
        plan = plan.without(unit, str(failure))
    raise QuantizationFailedError(f"The model still does not run with {MOST_FALLBACKS} operations left in float.")


def _rehearse(
    module: GraphModule, plan: Plan, qconfigs: QConfigs, recipe: Recipe, inputs: tuple[Tensor, ...]
) -> ConversionError | None:
    try:
        observed = observe(module, plan, qconfigs, recipe, inputs).eval()
        with torch.no_grad():
            observed(*inputs)
        realize(observed, recipe, inputs)
    except ConversionError as failure:
        return failure
    return None


def observe(
    module: GraphModule, plan: Plan, qconfigs: QConfigs, recipe: Recipe, inputs: tuple[Tensor, ...]
) -> GraphModule:
    """`module` with the observers of `plan`.

    Raises:
        ConversionError: If FX cannot place them.
    """
    try:
        return prepare(module, qconfigs.mapping(plan), inputs, recipe)
    except Warning:
        raise
    except Exception as error:
        raise ConversionError(error) from error


class _Tracker(Interpreter):
    """Runs a graph and remembers where it is; nowhere, once it has run."""

    extra_traceback = False
    node: Node | None = None

    def run_node(self, n: Node) -> Any:
        self.node = n if n.op != "output" else None
        return super().run_node(n)


def _blame(node: Node | None, plan: Plan) -> Unit | None:
    """The nearest unit of `plan`, from `node` upstream, that is not in float yet."""
    waiting = deque([node] if node else [])
    seen = set(waiting)
    while waiting:
        current = waiting.popleft()
        unit = _unit(current)
        if unit in plan.int8_layers or (isinstance(unit, tuple) and unit not in plan.float_functions):
            return unit
        upstream = [source for source in current.all_input_nodes if source not in seen]
        seen.update(upstream)
        waiting.extend(upstream)
    return None


def _unit(node: Node) -> Unit | None:
    return str(node.target) if node.op == "call_module" else node.meta.get(SOURCE)


def _search(
    module: GraphModule, plan: Plan, qconfigs: QConfigs, recipe: Recipe, inputs: tuple[Tensor, ...]
) -> Unit | None:
    """A layer or call that fails on its own, by halving: for failures that name no node."""
    calls = _calls(module, plan, qconfigs, recipe, inputs)
    suspects: list[Unit] = [*plan.int8_layers, *calls]
    if _rehearse(module, plan.only((), calls), qconfigs, recipe, inputs) is not None:
        return None
    while len(suspects) > 1:
        half = suspects[: len(suspects) // 2]
        fails = _rehearse(module, plan.only(half, calls), qconfigs, recipe, inputs) is not None
        suspects = half if fails else suspects[len(half) :]
    return suspects[0] if suspects else None


def _calls(
    module: GraphModule, plan: Plan, qconfigs: QConfigs, recipe: Recipe, inputs: tuple[Tensor, ...]
) -> list[FunctionCall]:
    """The calls of functions and methods that are not in float yet, as FX counts them."""
    observed = prepare(module, qconfigs.mapping(plan.only((), ())), inputs, recipe)
    sources = (node.meta.get(SOURCE) for node in observed.graph.nodes)
    return [source for source in dict.fromkeys(sources) if source is not None and source not in plan.float_functions]


def _first_line(error: Exception) -> str:
    lines = (line.strip().rstrip(".") for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)

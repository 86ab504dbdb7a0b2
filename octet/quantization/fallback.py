"""What to leave in float where an int8 kernel is missing or wrong.

FX graph mode picks operations by pattern, not by whether the engine has a kernel for them with these arguments. What
is known of that stands in `octet/kernels.py`; what is not is found by rehearsing the conversion on one small batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from octet import torchscript
from octet.quantization.graph_mode import convert, prepare, reference
from octet.quantization.lstms import observe_lstms
from octet.quantization.rehearsal import Rehearsal, first_line, reference_values
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn
    from torch.fx import GraphModule

    from octet.quantization.plan import Plan, Unit
    from octet.quantization.qconfigs import QConfigs
    from octet.recipe import Recipe

MOST_ROUNDS = 12
"""Rehearsals that found something to leave in float, before all is: each finds every failure of its kind."""


class ConversionError(Exception):
    """An int8 model could not be built or does not run.

    Attributes:
        found: The layers and calls that failed, each with the reason, where those are known.
    """

    def __init__(self, reason: str, found: Mapping[Unit, str] | None = None) -> None:
        super().__init__(reason)
        self.found = dict(found or {})


def realize(observed: GraphModule, recipe: Recipe, inputs: tuple[Tensor, ...]) -> tuple[GraphModule, Any]:
    """The int8 model of `observed`, eager and scripted, after both have run on `inputs`.

    Raises:
        ConversionError: If it cannot be converted, run or scripted, or a kernel in it gives wrong results.
    """
    # Whatever torch raises here, and it raises nearly every kind, has one meaning: not in int8, not this way. Only a
    # warning that was made an error means something else.
    try:
        int8 = convert(observed, recipe)
        with torch.no_grad(), kept(observed, int8):
            # What a kernel does with a weight is held against what a float layer does with the same, rounded weight.
            rehearsal = Rehearsal(int8, reference(observed, recipe), reference_values(observed, inputs))
            rehearsal.run(*inputs)
            if not rehearsal.found:
                scripted = torchscript.script(int8)
                scripted(*inputs)
                return int8, scripted
    except Warning:
        raise
    except Exception as error:
        raise ConversionError(first_line(error)) from error
    raise ConversionError(next(iter(rehearsal.found.values())), rehearsal.found)


def settle(module: GraphModule, plan: Plan, qconfigs: QConfigs, recipe: Recipe, inputs: tuple[Tensor, ...]) -> Plan:
    """`plan` with in float whatever has no int8 kernel that works; everything, if nothing less helps."""
    stage = _Stage(module, qconfigs, recipe, inputs)
    failure = stage.rehearse(plan)
    for _ in range(MOST_ROUNDS):
        if failure is None:
            return plan
        found = failure.found or stage.search(plan)
        if not found:
            break
        plan = plan.without(found)
        failure = stage.rehearse(plan)
    return plan if failure is None else plan.in_float(str(failure))


def observe(
    module: GraphModule, plan: Plan, qconfigs: QConfigs, recipe: Recipe, inputs: tuple[Tensor, ...]
) -> GraphModule:
    """`module` with the observers of `plan`.

    Raises:
        ConversionError: If FX cannot place them.
    """
    try:
        observed = prepare(module, plan, qconfigs.mapping(plan), inputs, recipe)
        observe_lstms(observed, plan, qconfigs.static)
    except Warning:
        raise
    except Exception as error:
        raise ConversionError(first_line(error)) from error
    return observed


def mirror(observed: GraphModule, recipe: Recipe) -> GraphModule:
    """What the int8 model of `observed` computes, in floats.

    Raises:
        ConversionError: If it cannot be converted.
    """
    try:
        return reference(observed, recipe)
    except Warning:
        raise
    except Exception as error:
        raise ConversionError(first_line(error)) from error


class _Stage:
    """What rehearsals have in common."""

    def __init__(self, module: GraphModule, qconfigs: QConfigs, recipe: Recipe, inputs: tuple[Tensor, ...]) -> None:
        self._module = module
        self._qconfigs = qconfigs
        self._recipe = recipe
        self._inputs = inputs

    def rehearse(self, plan: Plan) -> ConversionError | None:
        """What goes wrong with `plan`."""
        try:
            observed = observe(self._module, plan, self._qconfigs, self._recipe, self._inputs).eval()
            with torch.no_grad():
                observed(*self._inputs)
            realize(observed, self._recipe, self._inputs)
        except ConversionError as failure:
            return failure
        return None

    def search(self, plan: Plan) -> dict[Unit, str]:
        """A unit that fails on its own, with its likes, by halving: for failures that do not say where they are."""
        suspects: Sequence[Unit] = plan.int8_units
        failure = None if self._fails(plan, ()) else self._fails(plan, suspects)
        while failure and len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            other = self._fails(plan, half)
            suspects, failure = (half, other) if other else (suspects[len(half) :], failure)
        if failure is None or not suspects:
            return {}
        kind = self._kind(suspects[0], plan)
        reason = str(self._fails(plan, suspects) or failure)
        return {unit: reason for unit in plan.int8_units if self._kind(unit, plan) == kind}

    def _fails(self, plan: Plan, wanted: Sequence[Unit]) -> ConversionError | None:
        """What goes wrong if only `wanted` is made int8."""
        return self.rehearse(plan.without({unit: "" for unit in plan.int8_units if unit not in set(wanted)}))

    def _kind(self, unit: Unit, plan: Plan) -> Any:
        """Equal for units of which one fails if the other does: all is the same but their sizes."""
        return plan.calls[unit] if unit in plan.calls else _form(self._module.get_submodule(unit))


_SIZES = frozenset(
    {"in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels", "groups"}
)


def _form(layer: nn.Module) -> tuple[Any, ...]:
    options = {name: repr(getattr(layer, name, None)) for name in getattr(layer, "__constants__", ())}
    grouped = getattr(layer, "groups", 1) > 1
    return (type(layer), grouped, *sorted(item for item in options.items() if item[0] not in _SIZES))

"""Computes the weights that a graph makes of other weights, once, through the same operator table as all else."""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from itertools import chain
from operator import getitem
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from octet.errors import InvalidModelError
from octet.program.building.budget import Budget
from octet.program.building.calls import FAILURES, function_of, module_of
from octet.program.graph import DType, MemoryFormat, Ref, refs
from octet.program.steps import Function, Method, Module

if TYPE_CHECKING:
    from octet.program.graph import Value
    from octet.program.steps import Plan, Step


def compute_weights(plan: Plan, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The plan's computed weights, by value name; parameters as `nn.Parameter`.

    They are computed on meta tensors first, which takes neither memory nor time whatever the file asks for. What is a
    view of a weight stays one, and what turns out to be a weight itself is that weight: tied weights stay tied.

    Raises:
        InvalidModelError: If one cannot be computed, takes far more memory or time than the weights it is made of
            warrant, or is not what the file says.
    """
    budget = Budget(weights.values())
    if plan.constants:
        shapes = {name: weight.detach().to("meta") for name, weight in weights.items()}
        with budget:
            _Run(plan, shapes, budget.most_bytes).values()
    with torch.no_grad():
        values = _Run(plan, weights, budget.most_bytes).values()
    known = {_identity(weight): weight for weight in weights.values()}
    return {name: known.setdefault(_identity(value), value) for name, value in _owned(plan, values).items()}


def _owned(plan: Plan, values: dict[str, Any]) -> dict[str, torch.Tensor]:
    owned = {}
    for name, weight in plan.computed.items():
        value = values[name]
        if not isinstance(value, torch.Tensor) or value.shape != weight.shape:
            raise InvalidModelError(f"The weight computed of {weight.name!r} has another shape than the graph says.")
        if value.isnan().any():
            raise InvalidModelError(f"The weight computed of {weight.name!r} is not a number in places.")
        value = value.detach()
        if not torch.ops.aten.is_non_overlapping_and_dense(value):  # an expanded one cannot be trained in place
            value = value.contiguous()
        trainable = weight.kind == "parameter" and value.is_floating_point()
        owned[name] = nn.Parameter(value) if trainable else value
    return owned


def _identity(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, isinstance(tensor, nn.Parameter)


class _Run:
    """Runs the steps in order, each value held until its last use."""

    def __init__(self, plan: Plan, weights: dict[str, torch.Tensor], limit: int) -> None:
        self._plan = plan
        self._weights = weights
        self._left = limit
        device = next(iter(weights.values())).device if weights else None
        # Tensors out of nothing are made beside the first input.
        self._values: dict[str, Any] = {next(iter(plan.inputs.values())): torch.empty(0, device=device)}

    def values(self) -> dict[str, Any]:
        """The values that layers own."""
        for step, done in zip(self._plan.constants, _last_uses(self._plan), strict=True):
            try:
                results = self._results(step)
            except FAILURES as error:
                raise InvalidModelError(
                    f"The weight {step.results[0]!r} cannot be computed: {type(error).__name__}: {error}"
                ) from error
            self._left -= sum(map(_bytes, results.values()))
            if self._left < 0:
                raise InvalidModelError("The graph computes weights that take far more memory than those of the file.")
            self._values.update(results)
            for name in done:
                self._left += _bytes(self._values.pop(name))
        return self._values

    def _results(self, step: Step) -> dict[str, Any]:
        value = self._call(step)
        if isinstance(step.expression, Module):
            places = step.expression.results
            return {name: reduce(getitem, indices, value) for name, indices in zip(step.results, places, strict=False)}
        return {step.results[0]: value} if step.single else dict(zip(step.results, value, strict=False))

    def _call(self, step: Step) -> Any:
        call = step.expression
        if isinstance(call, Module):
            available = self._weights | {ref.name: self._value(ref) for ref in call.weights.values()}
            module = module_of(call, step.results[0], available).eval()
            return module(*map(self._value, call.inputs))
        kwargs = {key: self._value(value) for key, value in call.kwargs.items()}
        if isinstance(call, Method):
            owner, *args = map(self._value, call.args)
            return getattr(owner, call.name)(*args, **kwargs)
        return function_of(call)(*map(self._value, call.args), **kwargs)

    def _value(self, value: Value | Function) -> Any:
        if isinstance(value, Function):
            return function_of(value)(*map(self._value, value.args))
        if isinstance(value, Ref):
            return self._values[value.name] if value.name in self._values else self._weights[value.name]
        if isinstance(value, DType | MemoryFormat):
            return getattr(torch, value.name)
        if isinstance(value, list | tuple):
            return type(value)(map(self._value, value))
        return value


def _last_uses(plan: Plan) -> list[list[str]]:
    """For each step the values that nothing reads after it."""
    last: dict[str, int] = {}
    for position, step in enumerate(plan.constants):
        last.update(dict.fromkeys(step.results, position))
        weights = step.expression.weights.values() if isinstance(step.expression, Module) else ()
        last.update((ref.name, position) for ref in chain(refs(step.expression.values()), weights))
    made = set(chain.from_iterable(step.results for step in plan.constants))
    done: dict[int, list[str]] = defaultdict(list)
    for name, position in last.items():
        if name in made and name not in plan.computed:
            done[position].append(name)
    return [done[position] for position in range(len(plan.constants))]


def _bytes(value: Any) -> int:
    """What a tensor takes; one that is expanded counts as if it were laid out."""
    return value.nbytes if isinstance(value, torch.Tensor) else 0

"""What the steps of a plan name, as things of torch: functions, and modules with their weights."""

from __future__ import annotations

from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from octet.errors import InvalidModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from octet.program.steps import Function, Module


FAILURES = (
    RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError, MemoryError,
)  # fmt: skip
"""What torch and Python raise where a call cannot be done with what a graph gives it."""


def function_of(call: Function) -> Any:
    """The function that the operator table names; such a name never comes from a file."""
    package, *names = call.name.split(".")
    found: Any = import_module("octet.program.leaves") if package == "octet" else import_module(package)
    return reduce(getattr, names[2:] if package == "octet" else names, found)


def module_of(module: Module, path: str, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """The module, made without memory of its own and given its weights out of those by name.

    Raises:
        InvalidModelError: If it cannot be made so, or if a weight does not fit it or is missing.
    """
    try:
        with torch.device("meta"), _Uninitialised():
            made: nn.Module = getattr(nn, module.type)(**module.options)
    except FAILURES as error:
        raise InvalidModelError(f"The {module.type} at {path!r} cannot be made: {error}.") from error
    for attribute, ref in module.weights.items():
        _assign(made, attribute, weights[ref.name], path)
    for attribute, buffer in made.named_buffers():
        if attribute not in module.weights:  # num_batches_tracked, which eval mode does not read nor the graph name
            setattr(made, attribute, torch.zeros(buffer.shape, dtype=buffer.dtype))
    if any(attribute not in module.weights for attribute, _ in made.named_parameters()):
        raise InvalidModelError(f"The {module.type} at {path!r} lacks weights.")
    return made


class _Uninitialised(TorchFunctionMode):
    """Leaves out `torch.nn.init`: on tensors without memory it only loads the compiler, for seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == nn.init.__name__:
            return kwargs["tensor"] if kwargs else args[0]
        return func(*args, **(kwargs or {}))


def _assign(module: nn.Module, attribute: str, tensor: torch.Tensor, path: str) -> None:
    expected = getattr(module, attribute)
    if not isinstance(expected, torch.Tensor) or expected.shape != tensor.shape:
        raise InvalidModelError(f"The weight {path}.{attribute} has a shape that does not fit its module.")
    is_parameter = isinstance(expected, nn.Parameter)
    if is_parameter and not isinstance(tensor, nn.Parameter):
        # The source keeps as a buffer what the module takes as a parameter: it is not to be trained.
        tensor = nn.Parameter(tensor, requires_grad=False)
    setattr(module, attribute, tensor if is_parameter else tensor.detach())

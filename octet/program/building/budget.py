"""Bounds what computing weights of weights may cost, before any of it is computed.

The calls run on meta tensors first, which do nothing. What each would do is added up: a file of kilobytes must not keep
a machine busy for hours, nor take its memory for what a call needs in between.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from octet.errors import InvalidModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FREE_BYTES = 2**26
HELD = 4
"""How many times the bytes of all weights may be held at once, beside `FREE_BYTES`."""
FREE_WORK = 5 * 10**10
"""Operations that any file may ask for: seconds of one core."""
WORK_PER_ELEMENT = 1000
"""How many more it may ask for each element of its weights."""
MAX_CALLS = 200_000
"""Kernels that may be called: each takes some microseconds, however small its tensors."""

_MEMORY_COST = 20
"""Operations in the time that one element takes to be read or written."""
_LARGEST_ELEMENT = 8
_DECOMPOSITION_COST = 30
_LINEAR_IN_ITS_SIZE = ("linalg_vector_norm", "linalg_cross", "linalg_diagonal")
_DECOMPOSITIONS = (
    "linalg_", "_linalg_", "cholesky", "lu_", "triangular_solve", "matrix_exp", "geqrf", "orgqr", "ormqr",
)  # fmt: skip

# Kernels that hold more within them than what they take and give: how many elements.
_SCRATCH: dict[str, Callable[[Any], int]] = {
    **dict.fromkeys(
        ("mse_loss", "smooth_l1_loss", "huber_loss", "dist"),
        lambda args: torch.add(*args[:2]).numel(),  # of meta tensors
    ),
    "mvlgamma": lambda args: args[0].numel() * args[1],
}


class Budget(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is not annotated
    """While it is entered, refuses calls on meta tensors that would cost more than weights of this size warrant."""

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        weights = list(weights)
        self.most_bytes = FREE_BYTES + HELD * sum(weight.nbytes for weight in weights)
        self._work = FREE_WORK + WORK_PER_ELEMENT * sum(weight.numel() for weight in weights)
        self._calls = MAX_CALLS

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip the compiler, torch would load it first, for a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Counts one kernel."""
        result = func(*args, **(kwargs or {}))
        made = _tensors(result)
        scratch = _SCRATCH.get(func.overloadpacket.__name__, lambda _: 0)(args)
        held = [tensor.untyped_storage().nbytes() for tensor in made]
        if max([*held, scratch * _LARGEST_ELEMENT]) > self.most_bytes:
            raise InvalidModelError("The graph computes weights that take far more memory than those of the file.")
        self._calls -= 1
        self._work -= _work(func, args, kwargs or {}, result, [*_tensors((args, kwargs)), *made])
        if self._work < 0 or self._calls < 0:
            raise InvalidModelError("The graph computes weights in far more steps than those of the file warrant.")
        return result


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _work(func: Any, args: Any, kwargs: Any, result: Any, tensors: list[torch.Tensor]) -> int:
    """About how many operations a kernel takes."""
    name = func.overloadpacket.__name__
    elements = sum(tensor.numel() for tensor in tensors)
    work = _MEMORY_COST * elements
    if func.overloadpacket in flop_registry:
        work += int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=result))
    elif name.startswith(_DECOMPOSITIONS) and not name.startswith(_LINEAR_IN_ITS_SIZE):
        work += _DECOMPOSITION_COST * elements * max(max(tensor.shape[-2:], default=1) for tensor in tensors)
    elif "pool" in name:
        work += elements * prod(size for size in tree_leaves(args[1]) if isinstance(size, int))
    elif name == "_trilinear":
        work += prod(tensor.numel() for tensor in args[:3])
    elif name == "_cdist_forward":
        work += result.numel() * args[0].shape[-1]
    return work

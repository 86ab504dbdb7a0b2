"""Tries a model out: whatever its graph asks for, the answer is one of our errors that says which call it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from octet.errors import InvalidModelError, OutOfMemoryError
from octet.program.building.calls import FAILURES
from octet.state import kept

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

# torch reports a failed allocation as a RuntimeError with one of these in it.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "storage size calculation overflowed")
_MAX_REASON = 500


def try_out(module: GraphModule, inputs: tuple[Tensor, ...]) -> Any:
    """What the float model gives for `inputs`.

    Raises:
        OutOfMemoryError: If a call asks for more memory than there is; says which call.
        InvalidModelError: If a call cannot be done.
    """
    tracker = _Tracker(module)
    tracker.extra_traceback = False  # what torch would add to the error speaks of its own names
    try:
        with torch.no_grad(), kept(module):
            return tracker.run(*inputs)
    except FAILURES as error:
        raise _in_words(error, tracker.call, inputs) from error


class _Tracker(fx.Interpreter):
    """Runs a graph call by call, and knows which it is at."""

    call = "its inputs"

    def run_node(self, n: fx.Node) -> Any:
        self.call = str(n.meta.get("call") or n.target)
        return super().run_node(n)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch says that memory could not be had."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _in_words(error: Exception, call: str, inputs: tuple[Tensor, ...]) -> OutOfMemoryError | InvalidModelError:
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
    where = f"on inputs of shapes {shapes}: {call}"
    if is_out_of_memory(error):
        return OutOfMemoryError(f"The model needs more memory than there is, {where}.")
    return InvalidModelError(
        f"The model does not run {where}: {str(error)[:_MAX_REASON] or type(error).__name__}",
        hint="If it runs on other inputs, look at the data: ids beyond the table they look up, or sizes too large.",
    )

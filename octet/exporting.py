"""Makes a `.pt2` of a model: `torch.export` with the batch left open."""

from __future__ import annotations

import sysconfig
import tempfile
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch._dynamo.exc import UserError, UserErrorType
from torch.fx.experimental.symbolic_shapes import is_concrete_int
from torch.utils import _pytree as pytree

from octet.errors import ExportFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch.export import ExportedProgram

# Frames that are not the user's code: torch's, Python's and this file's.
NOT_THE_USERS = (str(Path(torch.__file__).parent), sysconfig.get_path("stdlib"), __file__)
WAYS_OUT = (
    "torch.export follows every line that runs, so a branch on a tensor's values, .item() and numpy stop it: "
    "replace them by tensor operations such as torch.where, or move them out of forward."
)
FIXED_BATCH = (
    "Look for shapes written as numbers, such as x.view(8, -1) instead of x.view(x.size(0), -1), "
    "and for loops over the batch."
)


def export(model: torch.nn.Module, example_inputs: torch.Tensor | Sequence[Any], path: str | Path) -> Path:
    """Exports `model` to the file `path`, with the first dimension of every tensor input as one open batch.

    The model is exported in eval mode and left in the modes it was in. Inputs that do not go together in one batch each
    keep what torch.export finds of them; the first one's batch is always open. An example batch of 1 is doubled, since
    torch.export takes the sizes 0 and 1 for constants.

    Args:
        model: Any module that torch.export can follow.
        example_inputs: One tensor, or the positional arguments of the model's forward.
        path: Where to write. A file that is there is replaced, at once and only by a whole one.

    Returns:
        `path`.

    Raises:
        ExportFailedError: If torch.export cannot follow the model; with the line, and the usual ways out.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ExportFailedError(f"The folder {path.parent} does not exist.", hint="Make it first.")
    inputs = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
    with _eval_mode(model), torch.no_grad(), warnings.catch_warnings():
        # Recurrent modules keep their weights in a second list, which torch.export takes for state.
        warnings.filterwarnings("ignore", r"The tensor attributes? self\..*_flat_weights", UserWarning)
        program = _capture(model, _two_or_more(inputs))
    _save(program, path)
    return path


def _tensors(inputs: tuple[Any, ...]) -> list[torch.Tensor]:
    return [value for value in pytree.tree_leaves(inputs) if isinstance(value, torch.Tensor)]


def _two_or_more(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs, with a batch of 1 doubled."""
    tensors = _tensors(inputs)
    if not tensors or any(tensor.dim() == 0 or tensor.size(0) == 0 for tensor in tensors):
        raise ExportFailedError("Each example input needs a batch dimension, and at least one sample in it.")
    if all(tensor.size(0) == 1 for tensor in tensors):
        doubled: tuple[Any, ...] = pytree.tree_map_only(torch.Tensor, lambda value: torch.cat([value, value]), inputs)
        return doubled
    return inputs


@contextmanager
def _eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode for the time of the export, each module's own mode afterwards."""
    training = [(module, module.training) for module in model.modules()]
    # The fused encoder kernel would hide the layers that are to be quantized.
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for module, mode in training:
            module.training = mode


def _capture(model: torch.nn.Module, inputs: tuple[Any, ...]) -> ExportedProgram:
    """The exported program: with one batch shared by all inputs, or else with what torch.export finds of each."""
    together = len({tensor.size(0) for tensor in _tensors(inputs)}) == 1
    program = (together and _attempt(model, inputs, torch.export.Dim("batch"))) or _attempt(
        model, inputs, torch.export.Dim.AUTO
    )
    if not program or not _batch_is_open(program):
        raise ExportFailedError(f"The code of {type(model).__name__} fixes the batch size.", hint=FIXED_BATCH)
    return program


def _attempt(model: torch.nn.Module, inputs: tuple[Any, ...], batch: Any) -> ExportedProgram | None:
    """The exported program; None if the model's code does not allow this batch."""
    # One entry for each input, in the form of the inputs.
    shapes = pytree.tree_map(lambda value: {0: batch} if isinstance(value, torch.Tensor) else None, inputs)
    try:
        return torch.export.export(model, inputs, dynamic_shapes=shapes)
    except Exception as error:  # whatever the model's code and torch's passes raise
        if isinstance(error, UserError) and error.error_type == UserErrorType.CONSTRAINT_VIOLATION:
            return None
        raise _failed(model, error) from error


def _batch_is_open(program: ExportedProgram) -> bool:
    """Whether the first input's batch may vary, and something of it reaches an output."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [values[name] for name in program.graph_signature.user_inputs if isinstance(name, str)]
    outputs = [values[name] for name in program.graph_signature.user_outputs if isinstance(name, str)]
    sizes = [size for value in outputs if isinstance(value, torch.Tensor) for size in value.shape]
    return not is_concrete_int(inputs[0].shape[0]) and not all(is_concrete_int(size) for size in sizes)


def _failed(model: torch.nn.Module, error: Exception) -> ExportFailedError:
    """What went wrong, with the innermost line of the user's own code."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(NOT_THE_USERS)]
    place = f" at {own[-1].filename}:{own[-1].lineno} ({own[-1].line})" if own else ""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ExportFailedError(f"{type(model).__name__} could not be exported{place}: {reason}", hint=WAYS_OUT)


def _save(program: ExportedProgram, path: Path) -> None:
    """Writes beside `path` and renames, so that `path` is never half a file."""
    # The archive's top folder is named after the file: a constant name gives the same bytes wherever it goes.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".octet-export-") as folder:
        whole = Path(folder) / "model.pt2"
        torch.export.save(program, whole)
        whole.replace(path)

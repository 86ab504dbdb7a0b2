"""`octet.export`: one call from a module to a `.pt2`."""

from __future__ import annotations

import inspect
import io
import sys
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch._dynamo.exc import UserError, UserErrorType
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import is_concrete_int
from torch.utils._sympy.numbers import int_oo

from octet.errors import ExportFailedError
from octet.exporting.axes import BATCH, Example, each_example, examples_of, sizes_of, two_or_more
from octet.exporting.containers import simplify_containers
from octet.exporting.failures import FIXED_SIZE, Fixings, bounded, does_not_run, failed, fixed
from octet.program import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from octet.exporting.axes import DynamicAxes

# torch.export takes 0 and 1 for constants, so no size is open to less than 2 by its book; what it finds holds for them.
SMALLEST = 2
# Wrappers that are no part of the model, and where they keep it.
WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


def export(
    model: torch.nn.Module | Callable[..., Any],
    example_inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any],
    path: str | Path,
    *,
    dynamic_axes: DynamicAxes | None = None,
) -> Path:
    """Exports `model` to the file `path`, with the first axis of every tensor input as one open batch.

    The model is exported in eval mode, on its own device and in its own precision, and left in the modes it was in.
    Inputs that do not go together in one batch each keep what torch.export finds of them; the first one's batch is
    always open. Numbers, strings and None among the inputs become part of the exported model. An open axis of size 1 is
    doubled in the example, since torch.export takes the sizes 0 and 1 for constants.

    Args:
        model: Any module that torch.export can follow, or a method of one, such as `clip.encode_image`.
        example_inputs: One tensor, the positional arguments of the model's forward, or a dict of keyword arguments.
            They may be nested.
        path: Where to write. A file that is there is replaced, at once and only by a whole one that Octet reads.
        dynamic_axes: Further open axes by input, by name or position: `{"x": {2: "height", 3: "width"}}`. An input has
            the name of its argument, inside a container the path to it, such as `boxes.0`. Axes of one name have one
            size. The batch is axis 0, unless another is named "batch" or axis 0 is given another name;
            `{"x": {0: None}}` is an input without a batch.

    Returns:
        `path`.

    Raises:
        ExportFailedError: If torch.export cannot follow the model, or its code fixes an axis that is to be open; with
            the line, and the ways out.
        UnsupportedOperatorError: If the model uses an operator that Octet cannot rebuild.
        InvalidModelError: If Octet cannot use the model for another reason, NaN weights included.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ExportFailedError(f"The folder {path.parent} does not exist.", hint="Make it first.")
    with _as_module(model) as module, _eval_mode(module), torch.no_grad(), warnings.catch_warnings():
        # Recurrent modules keep their weights in a second list, which torch.export takes for state.
        warnings.filterwarnings("ignore", r"The tensor attributes? self\..*_flat_weights", UserWarning)
        call = _call(module, example_inputs)
        examples = examples_of(call.arguments, dynamic_axes or {})
        call.arguments.update(two_or_more(call.arguments, examples))
        _save(module, _capture(module, call, examples), path)
    return path


@contextmanager
def _as_module(model: Any) -> Iterator[torch.nn.Module]:
    """The module to export; for a method of a module that module, with the method as its forward for the time."""
    owner = getattr(model, "__self__", None)
    if inspect.ismethod(model) and isinstance(owner, torch.nn.Module):
        own = vars(owner).get("forward")
        vars(owner)["forward"] = model
        try:
            yield owner
        finally:
            vars(owner).pop("forward")
            vars(owner).update({} if own is None else {"forward": own})
        return
    while type(model).__name__ in WRAPPERS:
        model = getattr(model, WRAPPERS[type(model).__name__])
    if isinstance(model, torch.jit.ScriptModule):
        raise ExportFailedError(
            "The model is a TorchScript module, which torch.export cannot follow.",
            hint="Make the model by its Python class and load the weights into it: "
            "model.load_state_dict(scripted.state_dict()).",
        )
    if isinstance(model, ExportedProgram):
        raise ExportFailedError(
            "The model has been exported already.", hint='Save it as it is: torch.export.save(model, "model.pt2").'
        )
    if not isinstance(model, torch.nn.Module):
        raise ExportFailedError(
            f"octet.export takes a torch.nn.Module, not a {type(model).__name__}.",
            hint="Make a function the forward of a module that owns the modules and weights it uses; "
            "load a state dict into the module it belongs to.",
        )
    yield model


@contextmanager
def _eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode for the time of the export, each module's own mode afterwards."""
    training = [(module, module.training) for module in model.modules()]
    # The fused encoder kernel would hide the layers that are to be quantized.
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # nn.Transformer looks whether a mask's values are causal, to hint at faster kernels; an export cannot look.
    transformer = torch.nn.modules.transformer
    detect = transformer._detect_is_causal_mask  # noqa: SLF001 - no public way
    transformer._detect_is_causal_mask = lambda mask, is_causal=None, size=None: bool(is_causal)  # noqa: ARG005, SLF001
    model.eval()
    try:
        yield
    finally:
        transformer._detect_is_causal_mask = detect  # noqa: SLF001
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for module, mode in training:
            module.training = mode


def _call(model: torch.nn.Module, inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any]) -> inspect.BoundArguments:
    """The example inputs, bound to the parameters of the model's forward."""
    signature = inspect.signature(model.forward)
    args = () if isinstance(inputs, Mapping) else (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
    kwargs = inputs if isinstance(inputs, Mapping) else {}
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ExportFailedError(
            f"The example inputs do not fit {type(model).__name__}.forward: {error}.",
            hint=f"It takes {signature.replace(return_annotation=signature.empty)}.",
        ) from None


def _capture(model: torch.nn.Module, call: inspect.BoundArguments, examples: dict[str, Example]) -> ExportedProgram:
    """The exported program: with one size for each name of an axis, or else with what torch.export finds."""
    sizes = sizes_of(examples.values())
    if all(len(found) == 1 for found in sizes.values()):
        dims = {label: Dim(label) for label in sizes}
        program = _attempt(model, call, examples, dims.__getitem__)
        if program is not None:
            return program
    with Fixings() as fixings:
        program = _attempt(model, call, examples, lambda _: Dim.AUTO)
    if program is None:
        raise ExportFailedError(f"The code of {type(model).__name__} fixes the size of an open axis.", hint=FIXED_SIZE)
    _check_open(program, model, examples, fixings)
    return program


def _attempt(
    model: torch.nn.Module,
    call: inspect.BoundArguments,
    examples: dict[str, Example],
    dim_of: Callable[[str], Any],
) -> ExportedProgram | None:
    """The exported program; None if the model's code does not allow these axes."""

    def dims(example: Example) -> dict[int, Any]:
        return {axis: dim_of(label) for axis, label in example.axes.items()}

    shapes = each_example(call.arguments, examples, dims, lambda _: None)
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            program = torch.export.export(model, call.args, call.kwargs, dynamic_shapes=shapes)
    except Exception as error:  # whatever the model's code and torch's passes raise
        if isinstance(error, UserError) and error.error_type == UserErrorType.CONSTRAINT_VIOLATION:
            return None
        raise _diagnosis(model, call, error) from error
    sys.stderr.write(said.getvalue())  # what the model prints; where it fails, torch prints pages of graph
    return program


def _diagnosis(model: torch.nn.Module, call: inspect.BoundArguments, error: Exception) -> ExportFailedError:
    """Whether it is the export that fails, or the model on these inputs."""
    try:
        model(*call.args, **call.kwargs)
    except Exception as own:  # noqa: BLE001 - whatever the model's code raises
        return does_not_run(model, own)
    return failed(model, error)


def _check_open(
    program: ExportedProgram, model: torch.nn.Module, examples: dict[str, Example], fixings: Fixings
) -> None:
    """The first input's batch and every axis that was asked for have to be open; the batch, to any size."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    tensors = [values[name] for name in program.graph_signature.user_inputs if isinstance(name, str)]
    for position, (example, value) in enumerate(zip(examples.values(), tensors, strict=True)):
        for axis, label in example.axes.items():
            size = value.shape[axis]
            if not is_concrete_int(size):
                allowed = program.range_constraints.get(size.node.expr)
                if (
                    label == BATCH
                    and allowed is not None
                    and not (allowed.lower <= SMALLEST and allowed.upper == int_oo)
                ):
                    raise bounded(model, example, axis, fixings.line(str(size)))
            elif axis in example.asked or (position == 0 and label == BATCH):
                raise fixed(model, example, axis, fixings.line(f"{example.source}.size()[{axis}]"))


def _save(model: torch.nn.Module, program: ExportedProgram, path: Path) -> None:
    """Writes beside `path`, has Octet read it, and renames, so that `path` is never half a file or one for nobody."""
    # The archive's top folder is named after the file: a constant name gives the same bytes wherever it goes.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".octet-export-") as folder:
        whole = Path(folder) / "model.pt2"
        try:
            simplify_containers(program)
            torch.export.save(program, whole)
        except Exception as error:  # whatever torch's serializer does not know
            raise failed(model, error) from error
        load(whole)
        whole.replace(path)

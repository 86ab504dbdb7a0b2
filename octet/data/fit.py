"""Whether a dataset fits a program: decided on their specs alone, before anything is read or run."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Literal

from octet.errors import FieldError, InvalidDatasetError, InvalidModelError

if TYPE_CHECKING:
    from octet.spec import ArraySpec, DatasetSpec, ProgramSpec, TensorSpec

Role = Literal["calibration", "evaluation"]

TARGETS = ("label", "target")
# Found -> wanted: the only casts made in silence.
CASTS = {"float64": "float32", "int32": "int64"}


def check_batch(program: ProgramSpec) -> None:
    """Checks that samples can be run in batches: that the first dimension of every input is one and the same batch.

    Raises:
        InvalidModelError: If one input has no batch, or another than the rest.
    """
    first = program.inputs[0]
    for tensor in program.inputs:
        batches = {other.shape[0] if other.shape else None for other in (first, tensor)}
        if None in batches or (len(batches) > 1 and any(isinstance(size, int) for size in batches)):
            others = f"; {first.name!r} has the shape {_shape(first.shape)}" if tensor is not first else ""
            raise InvalidModelError(
                f"The model's input {tensor.name!r} has the shape {_shape(tensor.shape)}, without a batch to go with "
                f"the other inputs{others}.",
                hint="Export the model with the batch first in every input, or with this one fixed inside the model.",
            )


def check_dataset(dataset: DatasetSpec, program: ProgramSpec, role: Role) -> None:
    """Checks that a job can use the dataset in this role.

    Labels are class numbers below the number of classes, which is the second dimension of the first output; they have
    its other dimensions. Targets have the shape of the first output.

    Raises:
        InvalidDatasetError: With the array, what was found and what is needed; `errors` points at the role.
    """
    check_batch(program)
    try:
        match_inputs(dataset, program)
        _check_samples(dataset)
        if "label" in dataset.arrays:
            _check_label(dataset.arrays["label"], program.outputs[0])
        if "target" in dataset.arrays:
            _check_target(dataset.arrays["target"], program.outputs[0])
    except InvalidDatasetError as error:
        raise InvalidDatasetError(
            f"As {role} data: {error.message}",
            hint=error.hint,
            errors=[FieldError(f"/{role}", error.message, error.hint)],
        ) from None


def match_inputs(dataset: DatasetSpec, program: ProgramSpec) -> tuple[str, ...]:
    """The name of the array that feeds each input: the input's own name, or `input_0`, `input_1`, … by position.

    Raises:
        InvalidDatasetError: If an array is missing, does not fit its input, or belongs to no input.
    """
    names = tuple(_source(dataset, tensor, position) for position, tensor in enumerate(program.inputs))
    for unknown in dataset.arrays.keys() - {*names, *TARGETS}:
        known = [*(tensor.name for tensor in program.inputs), *TARGETS]
        near = difflib.get_close_matches(unknown, known, n=1)
        raise InvalidDatasetError(
            f"The array {unknown!r} belongs to no input of the model.",
            hint=f"Did you mean {near[0]!r}?" if near else f"Arrays can be named {', '.join(known)}.",
        )
    sizes: dict[str, int] = {}
    for name, tensor in zip(names, program.inputs, strict=True):
        _check_input(name, dataset.arrays[name], tensor, sizes)
    return names


def _source(dataset: DatasetSpec, tensor: TensorSpec, position: int) -> str:
    by_position = f"input_{position}"
    for name in (tensor.name, by_position):
        if name in dataset.arrays:
            return name
    raise InvalidDatasetError(
        f"The dataset has no array for the model's input {tensor.name!r}; it has {', '.join(dataset.arrays)}.",
        hint=f"Name the array {tensor.name!r} or {by_position!r}.",
    )


def _check_input(name: str, array: ArraySpec, tensor: TensorSpec, sizes: dict[str, int]) -> None:
    """One array against its input; `sizes` remembers what open sizes turned out to be."""
    if array.dtype != tensor.dtype and CASTS.get(array.dtype) != tensor.dtype:
        raise InvalidDatasetError(
            f"The array {name!r} is {array.dtype}; the model's input {tensor.name!r} takes {tensor.dtype}.",
            hint=f"Convert it: array.astype({tensor.dtype!r}).",
        )
    if not _fits(array.shape[1:], tensor.shape[1:], sizes):
        raise InvalidDatasetError(
            f"The array {name!r} has samples of shape {_shape(array.shape[1:])}; "
            f"the model's input {tensor.name!r} takes {_shape(tensor.shape[1:])}.",
            hint="The model was exported without a batch: export it with one, as the first dimension of each input."
            if _fits(array.shape[1:], tensor.shape, {})
            else None,
        )


def _fits(found: tuple[int, ...], wanted: tuple[int | str, ...], sizes: dict[str, int]) -> bool:
    return len(found) == len(wanted) and all(
        have == (sizes.setdefault(want, have) if isinstance(want, str) else want)
        for have, want in zip(found, wanted, strict=True)
    )


def _check_samples(dataset: DatasetSpec) -> None:
    if dataset.samples == 0:
        raise InvalidDatasetError("The dataset has no samples.")


def _check_label(label: ArraySpec, output: TensorSpec) -> None:
    if not label.dtype.startswith(("int", "uint")):
        raise InvalidDatasetError(
            f"The array `label` is {label.dtype}; labels are whole numbers.",
            hint="For values to regress on, name the array `target`.",
        )
    if len(output.shape) < 2 or not _fits(label.shape[1:], output.shape[2:], {}):  # noqa: PLR2004 - [batch, classes, …]
        raise InvalidDatasetError(
            f"The array `label` has shape {_shape(label.shape)}, which does not go with the output {output.name!r} "
            f"of shape {_shape(output.shape)}: one label is needed for each sample."
        )
    classes = output.shape[1]
    low, high = int(label.minimum or 0), int(label.maximum or 0)
    if low < 0 or (isinstance(classes, int) and high >= classes):
        raise InvalidDatasetError(
            f"The array `label` has values from {low} to {high}; the output {output.name!r} has {classes} classes, "
            "counted from 0."
        )


def _check_target(target: ArraySpec, output: TensorSpec) -> None:
    if not target.dtype.startswith("float"):
        raise InvalidDatasetError(
            f"The array `target` is {target.dtype}; targets are floats.", hint="For class numbers, name it `label`."
        )
    if not _fits(target.shape[1:], output.shape[1:], {}):
        raise InvalidDatasetError(
            f"The array `target` has samples of shape {_shape(target.shape[1:])}; "
            f"the output {output.name!r} has {_shape(output.shape[1:])}."
        )


def _shape(sizes: tuple[int | str, ...]) -> str:
    return "[" + ", ".join(str(size) for size in sizes) + "]"

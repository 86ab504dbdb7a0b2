"""The example inputs by name, and which of their axes stay open in the `.pt2`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from octet.errors import ExportFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BATCH = "batch"

DynamicAxes = Mapping[str | int, Mapping[int, str | None]]


@dataclass(frozen=True, slots=True)
class Example:
    """One tensor among the example inputs.

    Attributes:
        name: Its name in the `.pt2`: the argument's, and the keys on the way to it, as in `boxes.0`.
        source: What torch calls it: `L['boxes'][0]`.
        tensor: The tensor.
        axes: The names of its open axes.
        asked: Which of them the user asked for.
    """

    name: str
    source: str
    tensor: torch.Tensor
    axes: dict[int, str]
    asked: frozenset[int]

    def size(self, axis: int) -> int:
        """The size of an axis in the example."""
        return self.tensor.size(axis)


def examples_of(arguments: dict[str, Any], dynamic_axes: DynamicAxes) -> dict[str, Example]:
    """The tensors in the arguments of a call, in order.

    Raises:
        ExportFailedError: If `dynamic_axes` names an input or axis that is not there, or an input lacks its batch axis.
    """
    tensors = {path: leaf for path, leaf in pytree.tree_leaves_with_path(arguments) if isinstance(leaf, torch.Tensor)}
    names = {path: _name(path) for path in tensors}
    _refuse_unknown(dynamic_axes, list(names.values()))
    examples = {}
    for position, (path, tensor) in enumerate(tensors.items()):
        asked = dynamic_axes.get(names[path], dynamic_axes.get(position, {}))
        source = f"L{pytree.keystr(path)}"
        examples[source] = _example(names[path], source, tensor, asked)
    if not examples:
        raise ExportFailedError("There is no tensor among the example inputs, so there is nothing to run the model on.")
    return examples


def _name(path: tuple[Any, ...]) -> str:
    """The name that Octet gives the input at a path of the arguments."""
    return ".".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path)


def _refuse_unknown(dynamic_axes: DynamicAxes, names: list[str]) -> None:
    unknown = [key for key in dynamic_axes if key not in names and key not in range(len(names))]
    if unknown:
        raise ExportFailedError(
            f"dynamic_axes speaks of {unknown[0]!r}, but the inputs are {', '.join(names)}.",
            hint="Name an input, or say its position, counted from 0.",
        )


def _example(name: str, source: str, tensor: torch.Tensor, asked: Mapping[int, str | None]) -> Example:
    for axis, label in asked.items():
        if not -tensor.dim() <= axis < tensor.dim():
            raise ExportFailedError(f"dynamic_axes speaks of axis {axis} of {name}, which has {tensor.dim()}.")
        if label is not None and not label.isidentifier():
            raise ExportFailedError(f"{label!r} cannot name an axis.", hint="Name it by a word, such as height.")
    wanted: dict[int, str | None] = {axis % tensor.dim(): label for axis, label in asked.items()}
    axes = wanted if BATCH in wanted.values() else {0: BATCH, **wanted}
    opened = {axis: label for axis, label in axes.items() if label is not None}
    if any(axis >= tensor.dim() or tensor.size(axis) == 0 for axis in opened):
        raise ExportFailedError(
            f"The example input {name} of shape {list(tensor.shape)} has no sample along its open axes.",
            hint="Its first axis is the batch, with at least one sample; "
            f'dynamic_axes={{"{name}": {{0: None}}}} says that it has none.',
        )
    return Example(name, source, tensor, opened, frozenset(wanted))


def sizes_of(examples: Iterable[Example]) -> dict[str, set[int]]:
    """The sizes that the axes of each name have."""
    sizes: dict[str, set[int]] = {}
    for example in examples:
        for axis, label in example.axes.items():
            sizes.setdefault(label, set()).add(example.size(axis))
    return sizes


def two_or_more(arguments: dict[str, Any], examples: dict[str, Example]) -> dict[str, Any]:
    """The arguments, with open axes of size 1 doubled: torch.export takes the sizes 0 and 1 for constants."""
    ones = {label for label, sizes in sizes_of(examples.values()).items() if sizes == {1}}

    def doubled(example: Example) -> torch.Tensor:
        tensor = example.tensor.clone()  # of a view, torch.export would save all of the memory it looks into
        for axis, label in example.axes.items():
            tensor = torch.cat([tensor, tensor], axis) if label in ones else tensor
        return tensor

    return each_example(arguments, examples, doubled, lambda value: value)


def each_example(
    arguments: dict[str, Any], examples: dict[str, Example], of: Callable[[Example], Any], other: Callable[[Any], Any]
) -> dict[str, Any]:
    """The arguments with `of` in the place of each example and `other` in that of everything else."""

    def replaced(path: tuple[Any, ...], leaf: Any) -> Any:
        example = examples.get(f"L{pytree.keystr(path)}")
        return other(leaf) if example is None else of(example)

    mapped: dict[str, Any] = pytree.tree_map_with_path(replaced, arguments)
    return mapped

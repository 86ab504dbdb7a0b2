"""Models as torch.export writes them and Octet reads them, and whether they compute the same."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import octet

if TYPE_CHECKING:
    from pathlib import Path


def saved(
    model: nn.Module,
    args: tuple[Any, ...],
    folder: Path,
    *,
    kwargs: dict[str, Any] | None = None,
    shapes: Any = None,
    strict: bool = False,
    decomposed: bool = False,
) -> octet.Program:
    """What Octet reads of the model as torch.export saves it."""
    program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=strict)
    if decomposed:
        program = program.run_decompositions()
    torch.export.save(program, folder / "model.pt2")
    return octet.load(folder / "model.pt2")


def tensors(value: Any) -> list[Tensor]:
    """The tensors of nested containers, in order."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def reloaded(module: nn.Module) -> Any:
    """The module as TorchScript, saved and loaded."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module), buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def check_computes(program: octet.Program, inputs: list[Tensor], expected: Any) -> None:
    """The rebuilt module, and its TorchScript, give the tensors of `expected`."""
    for module in (program.module(), reloaded(program.module())):
        torch.testing.assert_close(tensors(module(*inputs)), tensors(expected))


def error(got: Tensor, wanted: Tensor) -> float:
    """How far two tensors are apart, next to the size of the second."""
    assert got.shape == wanted.shape
    return ((got - wanted).norm() / wanted.norm()).item()

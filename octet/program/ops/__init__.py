"""THE operator table: which operators of an exported graph Octet takes, and how each is rebuilt.

A row is a target without ".default" and how it becomes a module, a function or a method. The in-place form of an
operator (`relu_`) is rebuilt as the operator itself (`relu`); who reads the overwritten value then reads the result.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from octet.program.ops import (
    activations,
    arithmetic,
    attention,
    creation,
    decomposed,
    indexing,
    layers,
    losses,
    norms,
    pooling,
    products,
    recurrent,
    reductions,
    resampling,
    shapes,
    spectral,
    symbolic,
)

if TYPE_CHECKING:
    from octet.program.ops.rows import Rebuild

PARTS = (
    layers, norms, recurrent, attention, activations, pooling, resampling, losses,
    arithmetic, reductions, products, shapes, indexing, creation, spectral, decomposed,
)  # fmt: skip
OPS: dict[str, Rebuild] = {
    **{f"aten.{name}": rebuild for part in PARTS for name, rebuild in part.OPS.items()},
    **symbolic.OPS,
}

_IN_PLACE = re.compile(r"^(aten\.)(?:([a-z0-9_]*[a-z0-9])_|__i(and|or|xor|lshift|rshift)__)(\..*)?$")

# In-place forms whose overloads are called otherwise than those of the operator itself.
_RENAMED = {
    "aten.float_power_.Scalar": "aten.float_power.Tensor_Scalar",
    "aten.float_power_.Tensor": "aten.float_power.Tensor_Tensor",
    "aten.floor_divide_.Tensor": "aten.floor_divide.default",
    "aten.ldexp_.default": "aten.ldexp.Tensor",
    "aten.pow_.Scalar": "aten.pow.Tensor_Scalar",
    "aten.pow_.Tensor": "aten.pow.Tensor_Tensor",
    "aten.transpose_.default": "aten.transpose.int",
}


def canonical(target: str) -> str:
    """The key of a target: not in place, and without ".default"."""
    return functional(target).removesuffix(".default")


def functional(target: str) -> str:
    """The form of a target that overwrites nothing."""
    match = _IN_PLACE.match(target)
    if match is None:
        return target
    space, name, operator, overload = match.groups()
    return _RENAMED.get(target, f"{space}{name or f'__{operator}__'}{overload or ''}")


def in_place(target: str) -> bool:
    """Whether an operator overwrites its first argument."""
    return _IN_PLACE.match(target) is not None

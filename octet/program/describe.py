"""What a program takes, gives and is made of, in the names of its source. Needs no torch."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from octet.errors import InvalidModelError
from octet.program.graph import Graph, Ref, dtype
from octet.program.outlook import outlooks
from octet.program.steps import Module, Plan
from octet.spec import Layer, ProgramSpec, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from octet.program.pt2 import schema
    from octet.program.reading.weights import StoredTensor

BATCH = "batch"


def describe(document: schema.Document, graph: Graph, plan: Plan, tensors: Iterable[StoredTensor]) -> ProgramSpec:
    """The spec of a program."""
    sizes = _SizeNames()
    inputs, outputs = (
        tuple(_tensor_spec(name, graph.meta(Ref(value)), sizes) for name, value in values.items())
        for values in (plan.inputs, plan.outputs)
    )
    # Tied weights are the same bytes under several names.
    parameters = {
        (tensor.start, tensor.shape, tensor.strides) for tensor in tensors if tensor.weight.kind == "parameter"
    }
    return ProgramSpec(
        inputs=inputs,
        outputs=outputs,
        layers=tuple(_layers(graph, plan)),
        parameters=sum(prod(shape) for _, shape, _ in parameters),
        torch_version=document.torch_version,
        notes=tuple(graph.notes),
    )


def _layers(graph: Graph, plan: Plan) -> Iterator[Layer]:
    seen = set()
    found = outlooks(plan, graph)
    for step in plan.steps:
        if isinstance(step.expression, Module) and step.path not in seen:
            seen.add(step.path)
            owned = [graph.weight(ref) for ref in step.expression.weights.values()]
            count = sum(prod(weight.shape) for weight in owned if weight and weight.kind == "parameter")
            yield Layer(name=step.path, type=step.expression.type, parameters=count, outlook=found[step.path])


class _SizeNames:
    """Names for open sizes: the same expression has the same name wherever it stands.

    An expression is never parsed: its text is only compared.
    """

    def __init__(self) -> None:
        self._names: dict[str, int | str] = {}

    def name(self, size: schema.Size, tensor: str, position: int) -> int | str:
        """The number, or the name of what stands in its place; first the batch, else where it was first seen."""
        if size.as_int is not None:
            return size.as_int
        if size.as_expr is None:
            raise InvalidModelError(f"The tensor {tensor!r} has a size that is neither a number nor a symbol.")
        free = position == 0 and BATCH not in self._names.values()
        return self._names.setdefault(size.as_expr.expr_str, BATCH if free else f"{tensor}_dim{position}")


def _tensor_spec(name: str, meta: schema.TensorMeta, sizes: _SizeNames) -> TensorSpec:
    shape = tuple(sizes.name(size, name, position) for position, size in enumerate(meta.sizes))
    return TensorSpec(name=name, dtype=dtype(meta.dtype, name), shape=shape)

"""Builds a graph of `nn` modules out of a plan. Everything that needs torch to read a program is in here."""

from __future__ import annotations

import builtins
import mmap
import operator
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from octet.errors import InvalidModelError
from octet.program import leaves
from octet.program.building.calls import FAILURES, function_of, module_of
from octet.program.building.computed import compute_weights
from octet.program.graph import DType, MemoryFormat, Ref, Value
from octet.program.reading.precision import LARGEST
from octet.program.steps import Function, Method, Module, Plan, Step
from octet.state import STATE

if TYPE_CHECKING:
    from pathlib import Path

    from octet.program.reading.weights import StoredTensor

TORCHSCRIPT = ("annotate", "fork", "ops", "unchecked_cast", "uninitialized", "CONSTANTS")
"""What the code in a saved TorchScript file calls; it keeps the names of arguments."""


def build(plan: Plan, tensors: dict[str, StoredTensor], path: Path) -> fx.GraphModule:
    """A fresh module graph, in eval mode, whose weights are mapped from the file and never written to it.

    Raises:
        InvalidModelError: If a module cannot be made of what the file says.
    """
    weights = map_weights(tensors, path)
    builder = _Builder(plan, weights | compute_weights(plan, weights))
    try:
        return builder.module()
    except FAILURES as error:
        raise InvalidModelError(f"The graph cannot be built: {type(error).__name__}: {error}") from error


def map_weights(tensors: dict[str, StoredTensor], path: Path) -> dict[str, torch.Tensor]:
    """The weights by the graph's names: views of a private mapping of the file; parameters as `nn.Parameter`.

    Names with the same bytes (tied weights) share one tensor.
    """
    with path.open("rb") as file:
        # Copy-on-write: training changes this process's pages, never the file.
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    mapped: dict[Any, torch.Tensor] = {}
    weights = {}
    for name, tensor in tensors.items():
        place = (tensor.start, tensor.stored, tensor.shape, tensor.strides, tensor.weight.kind)
        if place not in mapped:
            mapped[place] = _parameter(_view(tensor, buffer), tensor)
        weights[name] = mapped[place]
    return weights


def _view(tensor: StoredTensor, buffer: mmap.mmap) -> torch.Tensor:
    kind, wanted = (getattr(torch, name) for name in (tensor.stored.name, tensor.dtype))
    if tensor.length == 0:
        return torch.empty(tensor.shape, dtype=wanted)
    count = tensor.length // tensor.stored.size
    flat = torch.frombuffer(buffer, dtype=kind, count=count, offset=tensor.start)
    if tensor.start % tensor.stored.size:  # torch.export aligns; another zip writer may not, and kernels rely on it
        flat = flat.clone()
    strided = flat.as_strided(tensor.shape, tensor.strides)
    if kind == torch.float64 != wanted:  # what only a double can be, such as the lowest number of a mask, stays finite
        strided = torch.where(strided.isfinite(), strided.clamp(-LARGEST, LARGEST), strided)
    return strided.to(wanted)


def _parameter(data: torch.Tensor, tensor: StoredTensor) -> torch.Tensor:
    if tensor.weight.kind != "parameter":
        return data
    return nn.Parameter(data, requires_grad=data.is_floating_point())


class _Builder:
    def __init__(self, plan: Plan, weights: dict[str, torch.Tensor]) -> None:
        self._plan = plan
        self._weights = weights
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._values: dict[str, fx.Node] = {}
        self._made: set[str] = set()
        self._free = 0  # weights that no module owns
        self._states = {name: f"{STATE}{number}" for number, name in enumerate(plan.updates)}

    def module(self) -> fx.GraphModule:
        """The whole program as one module."""
        for name in self._plan.inputs.values():
            self._values[name] = self._graph.placeholder(name)
        for name, attribute in self._states.items():
            self._root.register_buffer(attribute, self._weights[name].detach().clone())
        for step in self._plan.steps:
            self._add(step)
        outputs = tuple(self._value(Ref(name)) for name in self._plan.outputs.values())
        self._keep_state()
        self._graph.output(outputs[0] if len(outputs) == 1 else outputs)
        _name_arguments(self._graph)
        program = fx.GraphModule(self._root, self._graph, class_name="Program")
        program.graph.eliminate_dead_code()  # items of a sequence that nothing reads
        program.recompile()
        program.graph.lint()
        return program.eval()

    def _keep_state(self) -> None:
        """Writes what the program changes, once all has been read."""
        for new, state in [(self._value(Ref(value)), name) for name, value in self._plan.updates.items()]:
            node = self._graph.call_function(leaves.update, (self._graph.get_attr(self._states[state]), new))
            node.meta["is_wrapped"] = True

    def _add(self, step: Step) -> None:
        node = self._call(step)
        node.meta["call"] = step.call
        if isinstance(step.expression, Module):
            if step.expression.then:
                method, arguments = step.expression.then
                node = self._graph.call_method(method, (node, *self._args(arguments)))
            for name, indices in zip(step.results, step.expression.results, strict=False):
                self._values[name] = reduce(self._item, indices, node)
        elif step.single:
            self._values[step.results[0]] = node
        else:
            for index, name in enumerate(step.results):
                self._values[name] = self._item(node, index)

    def _item(self, node: fx.Node, index: int) -> fx.Node:
        return self._graph.call_function(operator.getitem, (node, index))

    def _call(self, step: Step) -> fx.Node:
        call = step.expression
        name = step.results[0] if step.single else None
        if isinstance(call, Module):
            if step.path not in self._made:
                self._made.add(step.path)
                _place(self._root, step.path, module_of(call, step.path, self._weights))
            return self._graph.create_node("call_module", step.path, self._args(call.inputs), name=name)
        args, kwargs = self._args(call.args), {key: self._value(value) for key, value in call.kwargs.items()}
        if isinstance(call, Method):
            return self._graph.create_node("call_method", call.name, args, kwargs, name=name)
        node = self._graph.create_node("call_function", function_of(call), args, kwargs, name=name)
        # FX keeps a wrapped function as one call when the graph is traced again, as prepare_fx does.
        node.meta["is_wrapped"] = call.name.startswith("octet.")
        return node

    def _args(self, values: tuple[Value | Function, ...]) -> tuple[Any, ...]:
        return tuple(self._value(value) for value in values)

    def _value(self, value: Value | Function) -> Any:
        if isinstance(value, Function):
            return self._graph.call_function(function_of(value), self._args(value.args))
        if isinstance(value, Ref):
            if value.name not in self._values:
                self._values[value.name] = self._attribute(value.name)
            return self._values[value.name]
        if isinstance(value, DType | MemoryFormat):
            return getattr(torch, value.name)
        if isinstance(value, list | tuple):
            return type(value)(self._value(item) for item in value)
        return value

    def _attribute(self, name: str) -> fx.Node:
        """A weight that no module owns, because the graph computes with it."""
        if name in self._states:  # read before it is written; what is made of it must not change with it
            return self._graph.call_method("clone", (self._graph.get_attr(self._states[name]),))
        tensor = self._weights[name]
        attribute = f"_weight_{self._free}"
        self._free += 1
        if isinstance(tensor, nn.Parameter):
            self._root.register_parameter(attribute, tensor)
        else:
            self._root.register_buffer(attribute, tensor)
        return self._graph.get_attr(attribute)


def _name_arguments(graph: fx.Graph) -> None:
    """Gives the arguments names that mean nothing else in the code that torch writes: `torch` becomes `torch_`."""
    taken = {"self", *TORCHSCRIPT, *dir(builtins), *graph.python_code("self").globals}
    for node in graph.nodes:
        if node.op == "placeholder":
            while node.target in taken:
                node.target += "_"
            taken.add(node.target)


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    *parents, leaf = path.split(".")
    try:
        for name in parents:
            if name not in root._modules:  # noqa: SLF001 - its public views take time with each that it has
                root.add_module(name, nn.Module())
            root = root.get_submodule(name)
        root.add_module(leaf, module)
    except KeyError:
        raise InvalidModelError(f"The module path {path!r} hides a method of torch's modules.") from None

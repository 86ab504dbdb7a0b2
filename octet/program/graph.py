"""The graph of a `.pt2` in plain values: what each node calls, with what, and where in the source it came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import zip_longest
from math import prod
from typing import TYPE_CHECKING, Literal

from octet.errors import InvalidModelError
from octet.program.pt2 import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# ScalarType of the export schema -> numpy's name. Half precision is raised to float32: int8 models are made from
# float32 ones, and CPUs compute in it.
DTYPES: dict[int, str] = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float32",
    7: "float32",
    8: "float64",
    9: "complex64",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "float32",
}
MEMORY_FORMATS: dict[int, str] = {
    1: "contiguous_format",
    2: "channels_last",
    3: "channels_last_3d",
    4: "preserve_format",
}
STRIDED = 7
MAX_SHOWN = 200
"""Characters of a file's text that a message quotes."""
MAX_NAMED = 8
"""Names that a message lists."""


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class DType:
    """A torch dtype, by numpy's name."""

    name: str


@dataclass(frozen=True, slots=True)
class MemoryFormat:
    """A torch memory format, by its name in `torch`."""

    name: str


Value = None | bool | int | float | complex | str | Ref | DType | MemoryFormat | list["Value"] | tuple["Value", ...]

WeightKind = Literal["parameter", "buffer", "constant"]


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that the file holds, or that is computed of such alone: its name in the source model and its form."""

    kind: WeightKind
    name: str
    meta: schema.TensorMeta

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes, all of them numbers."""
        return tuple(number(size, self.name) for size in self.meta.sizes)


@dataclass(frozen=True, slots=True)
class Node:
    """One call of an operator.

    Attributes:
        target: The operator, for example `aten.conv2d.default` or `_operator.mul`.
        args: Arguments by their schema name; what is absent has its default.
        positional: The names of those given by position, in order.
        results: Names of the values it makes; several for an operator that returns a tuple or a list.
        single: Whether it returns one value rather than a sequence.
        module: Path of the source module it was called in; "" is the model itself.
        module_type: Class of that module, without its package.
        trace: The recorded Python stack, outermost call first.
    """

    target: str
    args: dict[str, Value]
    positional: tuple[str, ...]
    results: tuple[str, ...]
    single: bool
    module: str
    module_type: str
    trace: str

    @property
    def where(self) -> str:
        """Module path and source line, as far as the file records them: `module 'a.b', net.py:7: y = f(x)`."""
        module = f"module {self.module[:MAX_SHOWN]!r}" if self.module else "the model's own forward"
        frames = [line.strip() for line in self.trace.splitlines()]
        lines = [
            (frame.split('"'), code)
            for frame, code in zip_longest(frames, frames[1:], fillvalue="")
            if frame.startswith('File "') and frame.count('"') > 1
        ]
        own = [line for line in lines if "/torch/" not in line[0][1] and not line[0][1].startswith("<")] or lines
        if not own:
            return module
        (_, file, rest, *_), code = own[-1]
        number = rest.removeprefix(", line ").split(",")[0]
        return ": ".join(filter(None, (f"{module}, {file[-MAX_SHOWN:]}:{number[:MAX_SHOWN]}", code[:MAX_SHOWN])))

    def __str__(self) -> str:
        """The call as errors name it."""
        return f"{self.target} ({self.where})"

    def required(self, name: str) -> Value:
        """The argument of that name."""
        if name not in self.args:
            raise InvalidModelError(f"{self} lacks its argument {name!r}.")
        return self.args[name]

    def ref(self, name: str) -> Ref:
        """The argument of that name, which has to be another node's value."""
        value = self.required(name)
        if not isinstance(value, Ref):
            raise InvalidModelError(f"{self}: argument {name!r} is not a tensor.")
        return value


@dataclass(frozen=True, slots=True)
class Graph:
    """Inputs, weights, calls and outputs. Every reference has been checked to be made before it is used.

    Attributes:
        inputs: The tensors it takes, in order.
        input_names: What the source calls them: `x`, `pair.0`.
        weights: The tensors that the file holds.
        constants: Inputs that the export fixed: numbers, texts, None.
        nodes: The calls, in order.
        outputs: What it returns, under the source's names: `logits`, `hidden_states.0`.
        metas: The form of each tensor.
        producers: The call that makes each value.
        read: The values that some call or the outputs read.
        updates: What weights that the program overwrites hold at the end of a call.
        states: Those of them that matter to the next call; they are no longer among the weights.
        notes: What a person should know of how the model was read.
        computed: What the calls make of weights alone, by value name; noted while the graph is lowered. Such a weight
            is named after the largest of those it is made of, and is a parameter if one of them is.
        layouts: Weights that a layer takes and no call makes yet, by name: another weight, the order of its dimensions,
            and the sizes of the matrix.
    """

    inputs: tuple[str, ...]
    input_names: tuple[str, ...]
    weights: dict[str, Weight]
    constants: dict[str, Value]
    nodes: tuple[Node, ...]
    outputs: dict[str, Value]
    metas: dict[str, schema.TensorMeta]
    producers: dict[str, Node] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    updates: dict[str, Value] = field(default_factory=dict)
    states: dict[str, Weight] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    computed: dict[str, Weight] = field(default_factory=dict)
    layouts: dict[str, tuple[Ref, tuple[int, ...], tuple[int, int]]] = field(default_factory=dict)

    def weight(self, value: Value) -> Weight | None:
        """The weight that `value` names, if it names one: of the file, or computed of such alone."""
        if not isinstance(value, Ref):
            return None
        return self.weights.get(value.name) or self.computed.get(value.name)

    def matrix(self, weight: Ref, rows: Sequence[int], columns: Sequence[int]) -> Ref:
        """A weight laid out as a matrix whose rows and columns go over these of its dimensions, as another weight."""
        owner = self.weight(weight)
        if owner is None or sorted([*rows, *columns]) != list(range(len(owner.shape))):
            raise InvalidModelError(f"{weight.name!r} cannot be laid out as a matrix.")
        order, shape = (*rows, *columns), owner.shape
        if order == (0, 1):
            return weight
        name = f"{weight.name}.{len(rows)} of {order}"
        if name not in self.computed:
            sizes = prod(shape[row] for row in rows), prod(shape[column] for column in columns)
            meta = owner.meta.model_copy(update={"sizes": tuple(schema.Size(as_int=size) for size in sizes)})
            self.computed[name] = replace(owner, meta=meta)
            self.layouts[name] = (weight, order, sizes)
        return Ref(name)

    def producer(self, value: Value) -> Node | None:
        """The node that makes `value`, if one does."""
        return self.producers.get(value.name) if isinstance(value, Ref) else None

    def rank(self, value: Ref) -> int:
        """How many dimensions a tensor has."""
        return len(self.meta(value).sizes)

    def meta(self, value: Ref) -> schema.TensorMeta:
        """The form of a tensor."""
        if value.name not in self.metas:
            raise InvalidModelError(f"The graph does not describe the tensor {value.name!r}.")
        return self.metas[value.name]


def number(size: schema.Size, of: str) -> int:
    """A size that must be known."""
    if size.as_int is None:
        raise InvalidModelError(f"The tensor {of!r} has a size that is not a number.")
    return size.as_int


def dtype(code: int, of: str) -> str:
    """The numpy name of the dtype that Octet computes in for this schema dtype."""
    if code not in DTYPES:
        raise InvalidModelError(f"The tensor {of!r} has a dtype (schema number {code}) that Octet does not take.")
    return DTYPES[code]


def refs(value: Value) -> Iterator[Ref]:
    """Every reference inside a value."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs(item)


def enumerated(names: Sequence[str]) -> str:
    """Names as a sentence has them: the first few."""
    shown = ", ".join(repr(name) for name in names[:MAX_NAMED])
    return shown + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")

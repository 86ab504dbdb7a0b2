"""The graph of a `.pt2` in plain values: what each node calls, with what, and where in the source it came from."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from octet.errors import InvalidModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octet.program import schema

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
MAX_NAME = 1000


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


Value = None | bool | int | float | str | Ref | DType | MemoryFormat | list["Value"] | tuple["Value", ...]

WeightKind = Literal["parameter", "buffer", "constant"]


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that the file holds: its name in the source model and its form."""

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

    def required(self, name: str) -> Value:
        """The argument of that name."""
        if name not in self.args:
            raise InvalidModelError(f"{self.target} in module {self.module!r} lacks its argument {name!r}.")
        return self.args[name]

    def ref(self, name: str) -> Ref:
        """The argument of that name, which has to be another node's value."""
        value = self.required(name)
        if not isinstance(value, Ref):
            raise InvalidModelError(f"{self.target} in module {self.module!r}: argument {name!r} is not a tensor.")
        return value


@dataclass(frozen=True, slots=True)
class Graph:
    """Inputs, weights, calls and outputs. Every reference has been checked to be made before it is used."""

    inputs: tuple[str, ...]
    weights: dict[str, Weight]
    constants: dict[str, Value]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    metas: dict[str, schema.TensorMeta]
    producers: dict[str, Node] = field(default_factory=dict)

    def weight(self, value: Value) -> Weight | None:
        """The weight that `value` names, if it names one."""
        return self.weights.get(value.name) if isinstance(value, Ref) else None

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


def read_graph(document: schema.GraphModule) -> Graph:
    """The graph of a document, its references checked.

    Raises:
        InvalidModelError: If a name is used before it is made, made twice, or stands for something of another kind.
    """
    inputs: list[str] = []
    weights: dict[str, Weight] = {}
    constants: dict[str, Value] = {}
    metas = document.graph.tensor_values
    for spec in document.signature.input_specs:
        kind, body = one_key(spec, "an input spec")
        if kind == "constant_input":
            constants[_text(body, "name")] = _constant(body)
            continue
        name = _input_name(kind, body)
        if name in weights or name in inputs or name not in metas:
            raise InvalidModelError(f"The graph's input {name!r} is declared twice or not described.")
        if kind == "user_input":
            if not name.isidentifier() or keyword.iskeyword(name):
                raise InvalidModelError(f"The model has an input named {name[:80]!r}, which is not a Python name.")
            inputs.append(name)
        else:
            weights[name] = Weight(_WEIGHT_KINDS[kind], _text(body, _WEIGHT_NAMES[kind]), metas[name])
    if not inputs:
        raise InvalidModelError("The model takes no tensor, so there is nothing to run it on.")
    nodes = tuple(_node(node) for node in document.graph.nodes)
    graph = Graph(tuple(inputs), weights, constants, nodes, _outputs(document.signature), metas)
    _check_references(graph)
    return graph


_WEIGHT_KINDS: dict[str, WeightKind] = {"parameter": "parameter", "buffer": "buffer", "tensor_constant": "constant"}
_WEIGHT_NAMES = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
# Buffers that batch norm updates while it trains; Octet's module graph is in eval mode and updates them itself in QAT.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def one_key(union: dict[str, Any], what: str) -> tuple[str, Any]:
    """The kind and the body of a union, which the schema writes as an object with one key."""
    if len(union) != 1:
        raise InvalidModelError(f"The graph has {what} with {len(union)} kinds instead of one.")
    return next(iter(union.items()))


def _text(body: Any, key: str) -> str:
    value = body.get(key) if isinstance(body, dict) else None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise InvalidModelError(f"The graph has an entry whose {key!r} is missing, too long or not text.")
    return value


def _input_name(kind: str, body: dict[str, Any]) -> str:
    argument = body.get("arg", {})
    if kind == "user_input":
        form, argument = one_key(argument, "a user input")
        if form != "as_tensor":
            raise InvalidModelError(
                "The model takes an input that is not a tensor.", hint="Export it with that value fixed in the model."
            )
    elif kind not in _WEIGHT_KINDS:
        raise InvalidModelError(f"The model keeps a {kind.replace('_', ' ')}, which Octet does not read.")
    return _text(argument, "name")


def _constant(body: dict[str, Any]) -> Value:
    kind, value = one_key(body.get("value", {}), "a constant input")
    return argument_value({kind: value})


def _outputs(signature: schema.Signature) -> tuple[Value, ...]:
    outputs: list[Value] = []
    for spec in signature.output_specs:
        kind, body = one_key(spec, "an output spec")
        if kind == "user_output":
            outputs.append(argument_value(body.get("arg", {})))
        elif kind != "buffer_mutation" or not _text(body, "buffer_name").endswith(_STATISTICS):
            raise InvalidModelError(
                f"The model changes its own state when it runs ({kind.replace('_', ' ')}).",
                hint="Octet quantizes models whose outputs depend on their inputs alone: export it in eval mode.",
            )
    return tuple(outputs)


def _node(node: schema.Node) -> Node:
    # A device means nothing here: the whole program runs where its inputs are. So do layout and pinned memory.
    inputs = [
        argument
        for argument in node.inputs
        if not argument.arg.keys() & {"as_device", "as_layout"} and argument.name != "pin_memory"
    ]
    results, single = _results(node.outputs)
    module, module_type = _module(node.metadata.get("nn_module_stack", ""))
    return Node(
        target=node.target.removeprefix("torch.ops."),
        args={argument.name: argument_value(argument.arg) for argument in inputs},
        positional=tuple(argument.name for argument in inputs if argument.kind != _KEYWORD),
        results=results,
        single=single,
        module=module,
        module_type=module_type,
        trace=node.metadata.get("stack_trace", ""),
    )


_KEYWORD = 2


def _results(outputs: tuple[dict[str, Any], ...]) -> tuple[tuple[str, ...], bool]:
    """The names a node gives its results, and whether it returns one value rather than a sequence."""
    if not outputs:
        return (), True
    if len(outputs) == 1:
        kind, body = one_key(outputs[0], "a result")
        if kind == "as_tensors":
            return tuple(_text(item, "name") for item in body), False
    return tuple(name for output in outputs for name in _result(output)), len(outputs) == 1


def _result(output: dict[str, Any]) -> Iterator[str]:
    kind, body = one_key(output, "a result")
    if kind == "as_tensor":
        yield _text(body, "name")
    elif kind in {"as_sym_int", "as_sym_bool", "as_sym_float"}:
        yield _text(body, "as_name")
    elif kind != "as_none":
        raise InvalidModelError(f"The graph has a result of kind {kind!r}, which Octet does not read.")


# "key,path,type" of each enclosing module, joined by ";". A path may hold commas ("blocks.slice(0, 2, None).0").
_STACK_ENTRY = re.compile(r"^[^,;]*,(?P<path>.*),(?P<type>[\w.$<>]*)$")
_REPEATED_CALL = re.compile(r"@\d+$")


def _module(stack: str) -> tuple[str, str]:
    """Path and class of the innermost module of a recorded module stack."""
    match = _STACK_ENTRY.match(stack.rsplit(";", 1)[-1])
    if match is None or match["path"].startswith("_empty_nn_module_stack") or len(match["path"]) > MAX_NAME:
        return "", ""
    return _REPEATED_CALL.sub("", match["path"]), match["type"].rsplit(".", 1)[-1]


def argument_value(argument: dict[str, Any]) -> Value:
    """An argument as a plain value."""
    kind, body = one_key(argument, "an argument")
    if kind not in _READERS:
        raise InvalidModelError(f"The graph has an argument of kind {kind!r}, which Octet does not read.")
    try:
        value: Value = _READERS[kind](body)
    except (TypeError, KeyError, ValueError, AttributeError):
        raise InvalidModelError(f"The graph has an argument of kind {kind!r} with a value of another kind.") from None
    return value


def _plain(*kinds: type) -> Any:
    def read(body: Any) -> Any:
        if type(body) not in kinds:
            raise TypeError
        return body

    return read


def _each(read: Any) -> Any:
    return lambda body: [read(item) for item in _plain(list)(body)]


def _float(body: Any) -> float:
    """A float; the schema spells the infinities and NaN out."""
    if isinstance(body, str) and body not in {"Infinity", "-Infinity", "NaN"}:
        raise TypeError
    return float(_plain(int, float, str)(body))


def _ref(body: Any) -> Ref:
    return Ref(_text(body, "name"))


def _symbolic(body: Any) -> Value:
    kind, value = one_key(body, "a symbolic argument")
    return Ref(_plain(str)(value)) if kind == "as_name" else argument_value({kind: value})


def _optional_ref(body: Any) -> Ref | None:
    kind, value = one_key(body, "an optional tensor")
    return None if kind == "as_none" else _ref(value)


_READERS: dict[str, Any] = {
    "as_none": lambda _: None,
    "as_tensor": _ref,
    "as_tensors": _each(_ref),
    "as_optional_tensor": _optional_ref,
    "as_optional_tensors": _each(_optional_ref),
    "as_int": _plain(int),
    "as_ints": _each(_plain(int)),
    "as_float": _float,
    "as_floats": _each(_float),
    "as_bool": _plain(bool),
    "as_bools": _each(_plain(bool)),
    "as_string": _plain(str),
    "as_strings": _each(_plain(str)),
    "as_sym_int": _symbolic,
    "as_sym_ints": _each(_symbolic),
    "as_sym_float": _symbolic,
    "as_sym_floats": _each(_symbolic),
    "as_sym_bool": _symbolic,
    "as_scalar_type": lambda body: DType(DTYPES[_plain(int)(body)]),
    "as_memory_format": lambda body: MemoryFormat(MEMORY_FORMATS[_plain(int)(body)]),
}


def refs(value: Value) -> Iterator[Ref]:
    """Every reference inside a value."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs(item)


def _check_references(graph: Graph) -> None:
    known = {*graph.inputs, *graph.weights, *graph.constants}
    for node in graph.nodes:
        for ref in refs(list(node.args.values())):
            if ref.name not in known:
                raise InvalidModelError(f"{node.target} uses {ref.name!r} before anything makes it.")
        for result in node.results:
            if result in known:
                raise InvalidModelError(f"The graph makes {result!r} twice.")
            known.add(result)
            graph.producers[result] = node
    for output in graph.outputs:
        if isinstance(output, Ref) and output.name not in known:
            raise InvalidModelError(f"The model returns {output.name!r}, which nothing makes.")

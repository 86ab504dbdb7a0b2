"""Decodes the arguments and calls of a graph from the export schema's tagged unions into plain values."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, Any

from octet.errors import InvalidModelError
from octet.program.graph import DTYPES, MEMORY_FORMATS, DType, MemoryFormat, Node, Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octet.program.graph import Value
    from octet.program.pt2 import schema

MAX_NAME = 1000
INT64 = (-(2**63), 2**63 - 1)


def one_key(union: Any, what: str) -> tuple[str, Any]:
    """The kind and the body of a union, which the schema writes as an object with one key."""
    if not isinstance(union, dict) or len(union) != 1:
        raise InvalidModelError(f"The graph has {what} that is not of one kind.")
    kind, body = next(iter(union.items()))
    return str(kind), body


def text(body: Any, key: str) -> str:
    """The text under `key` of an object of the schema."""
    value = body.get(key) if isinstance(body, dict) else None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise InvalidModelError(f"The graph has an entry whose {key!r} is missing, too long or not text.")
    return value


def identifier(name: str) -> str:
    """`name`, if it can be that of an argument.

    torch.fx writes such names into Python code, which it runs: anything else than a plain word would be run with it.
    """
    if not name.isascii() or not name.isidentifier() or keyword.iskeyword(name):
        raise InvalidModelError(f"The model has {name[:80]!r}, which cannot name an argument.")
    return name


# A device means nothing here: the whole program runs where its inputs are. So do layout and pinned memory. Graphs are
# taken apart before anything asks for them.
_NOT_ARGUMENTS = frozenset({"as_device", "as_layout", "as_graph"})


def node_of(node: schema.Node) -> Node:
    """A node in plain values."""
    inputs = [
        argument
        for argument in node.inputs
        if _NOT_ARGUMENTS.isdisjoint(argument.arg) and argument.name != "pin_memory"
    ]
    results, single = _results(node.outputs)
    module, module_type = _module(node.metadata.get("nn_module_stack", ""))
    return Node(
        target=node.target.removeprefix("torch.ops."),
        args={identifier(argument.name): argument_value(argument.arg) for argument in inputs},
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
        if kind == "as_tensors" and isinstance(body, list):
            return tuple(text(item, "name") for item in body), False
    return tuple(name for output in outputs for name in _result(output)), len(outputs) == 1


def _result(output: dict[str, Any]) -> Iterator[str]:
    kind, body = one_key(output, "a result")
    if kind == "as_tensor":
        yield text(body, "name")
    elif kind in {"as_sym_int", "as_sym_bool", "as_sym_float"}:
        yield text(body, "as_name")
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
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        raise InvalidModelError(f"The graph has an argument of kind {kind!r} with a value of another kind.") from None
    return value


def _plain(*kinds: type) -> Any:
    def read(body: Any) -> Any:
        if type(body) not in kinds:
            raise TypeError
        return body

    return read


def _integer(body: Any) -> int:
    """An integer of 64 bits, which is all that torch knows."""
    if type(body) is not int or not INT64[0] <= body <= INT64[1]:
        raise TypeError
    return body


def _each(read: Any) -> Any:
    return lambda body: [read(item) for item in _plain(list)(body)]


def _float(body: Any) -> float:
    """A float; the schema spells the infinities and NaN out."""
    if isinstance(body, str) and body not in {"Infinity", "-Infinity", "NaN"}:
        raise TypeError
    return float(_plain(int, float, str)(body))


def _ref(body: Any) -> Ref:
    return Ref(text(body, "name"))


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
    "as_int": _integer,
    "as_ints": _each(_integer),
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
    "as_complex": lambda body: complex(_float(body["real"]), _float(body["imag"])),
    "as_scalar_type": lambda body: DType(DTYPES[_plain(int)(body)]),
    "as_memory_format": lambda body: MemoryFormat(MEMORY_FORMATS[_plain(int)(body)]),
}

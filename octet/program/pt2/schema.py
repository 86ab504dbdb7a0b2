"""The part of torch's export schema that Octet reads: `models/model.json` and the payload configs, typed and checked.

Source: `torch/_export/serde/schema.py`, major version 8. Unknown keys are ignored, since minor versions add some; a
known key of a wrong kind is an error. pydantic's JSON parser bounds the nesting depth, and nothing is ever evaluated.

A document of a few megabytes can stand for gigabytes of objects (`[{},{},…`), so its values are counted before any of
it is parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, RootModel, Strict, ValidationError, WrapValidator

from octet.errors import InvalidModelError

if TYPE_CHECKING:
    from pydantic import ValidatorFunctionWrapHandler

MAX_VALUES = 1_500_000
"""Values of a JSON document. torch.export writes 60 to 150 for each call of an operator."""
MAX_TEXT = 1000
"""Characters of a name, a path or a target."""
MAX_PATH = 300
MAX_MODULES = 50_000
"""Modules of the source, whose paths are remembered with those of their containers."""
MAX_OUTPUTS = 10_000
SCHEMA_MAJOR = 8
ATEN_OPSETS = (10,)
TREESPEC_VERSION = 1
_Item = TypeVar("_Item")
Many = Annotated[tuple[_Item, ...], FailFast(), Strict(strict=False)]  # a list becomes a tuple; its items stay strict
"""A list, refused at its first wrong item."""


class _WrongItem(Exception):  # noqa: N818 - its way out of pydantic, which collects errors and passes others on
    """A wrong item of an object."""


def _stop(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        mistake = _first_mistake(error)
    raise _WrongItem(mistake)


Each = Annotated[_Item, WrapValidator(_stop)]
"""An item of an object, which is refused at the first wrong one: a million mistakes take gigabytes."""


def _first_mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = "/".join(str(step) for step in first["loc"])
    return f"{first['msg']} (at /{place[:MAX_TEXT]})"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class SymbolicValue(_Part):
    """An expression over symbols. Its text is compared and shown, never parsed as code."""

    expr_str: str = Field(max_length=10_000)


class Size(_Part):
    """A size, stride or offset: a number or an expression."""

    as_int: int | None = Field(None, ge=-(2**63), lt=2**63)
    as_expr: SymbolicValue | None = None


class TensorMeta(_Part):
    """A tensor's dtype, sizes and layout. `dtype` and `layout` are numbers of the schema's own."""

    dtype: int
    sizes: Many[Size] = Field(max_length=64)
    strides: Many[Size] = Field(max_length=64)
    storage_offset: Size
    layout: int


class NamedArgument(_Part):
    """One argument of a node; `arg` has one key that says its kind. `kind` 1 is positional, 2 keyword."""

    name: str = Field(max_length=MAX_TEXT)
    arg: dict[str, Any]
    kind: int | None = None


class Node(_Part):
    """One call of an operator."""

    target: str = Field(max_length=MAX_TEXT)
    inputs: Many[NamedArgument]
    outputs: Many[dict[str, Any]]
    metadata: dict[str, Each[str]] = {}


class Graph(_Part):
    """A list of calls, in order of execution."""

    inputs: Many[dict[str, Any]]
    outputs: Many[dict[str, Any]]
    nodes: Many[Node]
    tensor_values: dict[str, Each[TensorMeta]]


class Signature(_Part):
    """What the graph's inputs and outputs stand for; each spec has one key that says its kind."""

    input_specs: Many[dict[str, dict[str, Any]]]
    output_specs: Many[dict[str, dict[str, Any]]] = Field(max_length=MAX_OUTPUTS)


class CallSignature(_Part):
    """How the source model is called: its nested inputs and outputs, as pytree specs in JSON."""

    in_spec: str = ""
    out_spec: str
    forward_arg_names: tuple[str, ...] | None = None


class ModuleCall(_Part):
    """One module of the source model."""

    fqn: str = Field(max_length=MAX_PATH)
    signature: CallSignature | None = None


class GraphModule(_Part):
    """The graph with its signature."""

    graph: Graph
    signature: Signature
    module_call_graph: Many[ModuleCall] = Field(max_length=MAX_MODULES)


class SchemaVersion(_Part):
    """The version of this schema that the file was written with."""

    major: int
    minor: int


class Version(_Part):
    """What must be known of a document before the rest of it can be read."""

    schema_version: SchemaVersion
    opset_version: dict[str, Each[int]]
    torch_version: str = Field("unknown", max_length=MAX_TEXT)


class Document(Version):
    """`models/model.json`."""

    graph_module: GraphModule


class Payload(_Part):
    """Where the bytes of one tensor are. With `use_pickle` they are a pickle, which Octet never reads."""

    path_name: str
    use_pickle: bool
    tensor_meta: TensorMeta | None = None


class PayloadConfig(_Part):
    """`model_weights_config.json` and `model_constants_config.json`."""

    config: dict[str, Each[Payload]]


class Treespec(_Part):
    """A node of a pytree spec; one without a type is a leaf."""

    type: str | None
    context: Any = None
    children_spec: Many[Treespec] = ()


class TreespecFile(RootModel[tuple[int, Treespec]]):
    """A pytree spec as it is saved: its version and its root."""


_PartType = TypeVar("_PartType", bound=BaseModel)


def parse(part: type[_PartType], text: bytes | str, where: str) -> _PartType:
    """`text` as a part of the schema.

    Raises:
        InvalidModelError: If it is no JSON, is too large, or is not of the schema's form; names the first place.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    # Each value but the first stands behind one of these; those inside strings are counted too, so this is the most.
    if sum(map(data.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise InvalidModelError(f"{where} holds more than {MAX_VALUES} values, more than Octet reads.")
    try:
        return part.model_validate_json(data)
    except ValidationError as error:
        mistake = _first_mistake(error)
    except _WrongItem as item:
        mistake = str(item)
    # Raised out here, where the objects that the mistake was found in are gone.
    raise InvalidModelError(f"{where} is not what torch.export writes: {mistake}.")


def parse_document(text: bytes) -> Document:
    """`models/model.json`, if it was written with a schema that Octet knows."""
    where = "models/model.json"
    try:
        document: Version | None = parse(Document, text, where)
    except InvalidModelError as error:
        document, mistake = None, error
    if not isinstance(document, Document):
        _check_version(parse(Version, text, where))  # another version may have another form: then that is what to say
        raise mistake
    _check_version(document)
    return document


def _check_version(document: Version) -> None:
    major, aten = document.schema_version.major, document.opset_version.get("aten")
    if major != SCHEMA_MAJOR or aten not in ATEN_OPSETS:
        raise InvalidModelError(
            f"The model was exported by torch {document.torch_version} with schema {major} and aten opset {aten}; "
            f"Octet reads schema {SCHEMA_MAJOR} with aten opset {ATEN_OPSETS[0]}.",
            hint="Export it again with torch 2.8 to 2.13.",
        )

"""Reads a model document into a graph: what its inputs and outputs stand for, and that every reference holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octet.errors import InvalidModelError
from octet.program.arguments import argument_value, identifier, one_key, text
from octet.program.graph import Graph, Ref, Weight, refs
from octet.program.regions import read_nodes

if TYPE_CHECKING:
    from octet.program import schema
    from octet.program.graph import Value, WeightKind

_WEIGHT_KINDS: dict[str, WeightKind] = {"parameter": "parameter", "buffer": "buffer", "tensor_constant": "constant"}
_WEIGHT_NAMES = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
# Buffers that batch norm updates while it trains; the rebuilt modules do that themselves, when they are trained.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def read_graph(document: schema.GraphModule) -> Graph:
    """The graph of a document, its references checked.

    Raises:
        InvalidModelError: If a name is used before it is made, made twice, or stands for something of another kind.
    """
    inputs: list[str] = []
    weights: dict[str, Weight] = {}
    constants: dict[str, Value] = {}
    metas = dict(document.graph.tensor_values)
    for spec in document.signature.input_specs:
        kind, body = one_key(spec, "an input spec")
        name = text(body, "name") if kind == "constant_input" else _input_name(kind, body)
        if name in constants or name in weights or name in inputs:
            raise InvalidModelError(f"The graph's input {name!r} is declared twice.")
        if kind == "constant_input":
            constants[name] = _constant(body)
        elif name not in metas:
            raise InvalidModelError(f"The graph does not describe its input {name!r}.")
        elif kind == "user_input":
            inputs.append(name)
        else:
            weights[name] = Weight(_WEIGHT_KINDS[kind], text(body, _WEIGHT_NAMES[kind]), metas[name])
    if not inputs:
        raise InvalidModelError("The model takes no tensor, so there is nothing to run it on.")
    nodes = tuple(read_nodes(document.graph, metas))
    graph = Graph(tuple(inputs), weights, constants, nodes, _outputs(document.signature), metas)
    _check_references(graph)
    return graph


def _input_name(kind: str, body: dict[str, Any]) -> str:
    argument = body.get("arg", {})
    if kind != "user_input":
        if kind not in _WEIGHT_KINDS:
            raise InvalidModelError(f"The model keeps a {kind.replace('_', ' ')}, which Octet does not read.")
        return text(argument, "name")
    form, argument = one_key(argument, "a user input")
    if form != "as_tensor":
        raise InvalidModelError(
            "The model takes an input that is not a tensor.", hint="Export it with that value fixed in the model."
        )
    name = identifier(text(argument, "name"))
    if name == "self":
        raise InvalidModelError("The model has an input named 'self', which cannot name an argument.")
    return name


def _constant(body: dict[str, Any]) -> Value:
    kind, value = one_key(body.get("value", {}), "a constant input")
    return argument_value({kind: value})


def _outputs(signature: schema.Signature) -> tuple[Value, ...]:
    outputs: list[Value] = []
    for spec in signature.output_specs:
        kind, body = one_key(spec, "an output spec")
        if kind == "user_output":
            outputs.append(argument_value(body.get("arg", {})))
        elif kind != "buffer_mutation" or not text(body, "buffer_name").endswith(_STATISTICS):
            raise InvalidModelError(
                f"The model changes its own state when it runs ({kind.replace('_', ' ')}).",
                hint="Octet quantizes models whose outputs depend on their inputs alone: export it in eval mode.",
            )
    return tuple(outputs)


def _check_references(graph: Graph) -> None:
    """Each value is made once, before it is used; notes in the graph what makes it."""
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

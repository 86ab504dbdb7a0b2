"""Reads a model document into a graph: what its inputs and outputs stand for, and that every reference holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octet.errors import InvalidModelError
from octet.program.graph import MAX_SHOWN, Graph, Ref, Weight, refs
from octet.program.reading.arguments import argument_value, identifier, one_key, text
from octet.program.reading.precision import in_float32
from octet.program.reading.regions import read_nodes
from octet.program.reading.trees import input_names, output_names

if TYPE_CHECKING:
    from octet.program.graph import Value, WeightKind
    from octet.program.pt2 import schema

_WEIGHT_KINDS: dict[str, WeightKind] = {"parameter": "parameter", "buffer": "buffer", "tensor_constant": "constant"}
_WEIGHT_NAMES = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
_MUTATIONS = {"buffer_mutation": "buffer_name", "parameter_mutation": "parameter_name"}


def read_graph(document: schema.GraphModule) -> Graph:
    """The graph of a document, its references checked.

    Raises:
        InvalidModelError: If a name is used before it is made, made twice, or stands for something of another kind.
    """
    inputs: dict[str, None] = {}  # in order, and quick to look names up in
    arguments: list[str] = []  # what the source's forward takes: inputs and constants
    weights: dict[str, Weight] = {}
    constants: dict[str, Value] = {}
    metas = dict(document.graph.tensor_values)
    root = next((call.signature for call in document.module_call_graph if not call.fqn), None)
    for spec in document.signature.input_specs:
        kind, body = one_key(spec, "an input spec")
        name = text(body, "name") if kind == "constant_input" else _input_name(kind, body)
        if name in constants or name in weights or name in inputs:
            raise InvalidModelError(f"The graph's input {name!r} is declared twice.")
        if kind in {"constant_input", "user_input"}:
            arguments.append(name)
        if kind == "constant_input":
            constants[name] = _constant(body)
        elif name not in metas:
            raise InvalidModelError(f"The graph does not describe its input {name!r}.")
        elif kind == "user_input":
            inputs[name] = None
        else:
            weights[name] = Weight(_WEIGHT_KINDS[kind], text(body, _WEIGHT_NAMES[kind]), metas[name])
    if not inputs:
        raise InvalidModelError("The model takes no tensor, so there is nothing to run it on.")
    paths = dict(zip(arguments, input_names(root, len(arguments)) or arguments, strict=True))
    graph = Graph(
        inputs=tuple(inputs),
        input_names=tuple(paths[name] for name in inputs),
        weights=weights,
        constants=constants,
        nodes=tuple(read_nodes(document.graph, metas)),
        outputs=_outputs(document.signature, root),
        metas=metas,
        updates=_updates(document.signature, weights),
    )
    graph = in_float32(graph)
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
        name = argument.get("as_name") if isinstance(argument, dict) else None
        raise InvalidModelError(
            f"The model's input {str(name)[:MAX_SHOWN]!r} is a number that may vary, not a tensor.",
            hint="Export it without a dynamic shape for that number, which fixes it, or have the model take a tensor.",
        )
    return identifier(text(argument, "name"))


def _constant(body: dict[str, Any]) -> Value:
    kind, value = one_key(body.get("value", {}), "a constant input")
    return argument_value({kind: value})


def _outputs(signature: schema.Signature, root: schema.CallSignature | None) -> dict[str, Value]:
    outputs: list[Value] = []
    for spec in signature.output_specs:
        kind, body = one_key(spec, "an output spec")
        if kind == "user_output":
            outputs.append(argument_value(body.get("arg", {})))
        elif kind not in {*_MUTATIONS, "user_input_mutation"}:  # what an input is overwritten with is nobody's output
            raise InvalidModelError(
                f"The graph gives a {kind.replace('_', ' ')}: it is one of training, not of a model to run.",
                hint="Export the model itself with torch.export.export, before any loss is added to it.",
            )
    return dict(zip(output_names(root, len(outputs)), outputs, strict=True))


def _updates(signature: schema.Signature, weights: dict[str, Weight]) -> dict[str, Value]:
    """What weights hold at the end of a call, where the graph was freed of writes and returns it."""
    values = {weight.name: value for value, weight in weights.items()}
    updates: dict[str, Value] = {}
    for spec in signature.output_specs:
        kind, body = one_key(spec, "an output spec")
        if kind in _MUTATIONS:
            name = text(body, _MUTATIONS[kind])
            if name not in values:
                raise InvalidModelError(f"The graph changes {name!r}, which it does not have.")
            updates[values[name]] = Ref(text(body.get("arg"), "name"))
    return updates


def _check_references(graph: Graph) -> None:
    """Each value is made once, before it is used; notes in the graph what makes it and what is read."""
    known = {*graph.inputs, *graph.weights, *graph.constants}
    for node in graph.nodes:
        for ref in refs(list(node.args.values())):
            if ref.name not in known:
                raise InvalidModelError(f"{node.target} uses {ref.name!r} before anything makes it.")
            graph.read.add(ref.name)
        for result in node.results:
            if result in known:
                raise InvalidModelError(f"The graph makes {result!r} twice.")
            known.add(result)
            graph.producers[result] = node
    for output in (*graph.outputs.values(), *graph.updates.values()):
        if isinstance(output, Ref) and output.name not in known:
            raise InvalidModelError(f"The model returns {output.name!r}, which nothing makes.")
    graph.read.update(ref.name for ref in refs(list(graph.outputs.values())))

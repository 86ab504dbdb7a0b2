"""Operators of the core ATen IR, which `ExportedProgram.run_decompositions()` leaves in the place of layers.

Some give more than a layer does, such as the mean and the scale of a norm: a module takes their place where nothing
reads those. `addmm` and the transposed weights of linear layers are in `products.py`, `convolution` in `layers.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.errors import InvalidModelError
from octet.program.ops.norms import batch_norm, layer_norm
from octet.program.ops.operands import weights_of
from octet.program.ops.rows import operator
from octet.program.steps import Expression, Function, Module

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node, Value
    from octet.program.ops.rows import Rebuild


def _layer(rebuild: Rebuild, name: str) -> Rebuild:
    """What `rebuild` makes of it, if that is a module and does for all that is read; else the operator itself."""

    def row(node: Node, graph: Graph) -> Expression:
        expression = rebuild(node, graph) if graph.read.isdisjoint(node.results[1:]) else None
        return expression if isinstance(expression, Module) else operator(name)(node, graph)

    return row


def group_norm(node: Node, graph: Graph) -> Expression:
    """`native_group_norm(input, weight[C], bias[C], N, C, HxW, group, eps)`."""
    weights = weights_of(node, graph, "weight", "bias")
    channels = node.required("C")
    if weights is None or len(weights) == 1 or not isinstance(channels, int):
        return operator("native_group_norm")(node, graph)
    options: dict[str, Value] = {
        "num_groups": node.required("group"),
        "num_channels": channels,
        "eps": node.required("eps"),
        "affine": bool(weights),
    }
    return Module("GroupNorm", options, weights, (node.ref("input"),))


def batch_norm_in_eval(node: Node, graph: Graph) -> Expression:
    """`_native_batch_norm_legit_no_training(input, weight, bias, running_mean, running_var, momentum, eps)`."""
    expression = batch_norm("batch_norm")(node, graph)
    if isinstance(expression, Module):
        return expression
    return _checked_batch_norm(node, graph, node.required("running_mean"), node.required("running_var"))


def batch_norm_of_the_batch(node: Node, graph: Graph) -> Expression:
    """`_native_batch_norm_legit.no_stats(input, weight, bias, training, momentum, eps)`."""
    return _checked_batch_norm(node, graph, None, None)


def _checked_batch_norm(node: Node, graph: Graph, mean: Value, variance: Value) -> Expression:
    """`torch.nn.functional.batch_norm`: the native kernels read past weights that have too few channels."""
    if not graph.read.isdisjoint(node.results[1:]):
        raise InvalidModelError(f"{node} is asked for statistics of its batch, which Octet does not compute.")
    weights = (node.args.get("weight"), node.args.get("bias"))
    options = (mean is None, node.required("momentum"), node.required("eps"))
    return Function("octet.program.leaves.batch_norm", (node.ref("input"), mean, variance, *weights, *options))


def trained_batch_norm(node: Node, graph: Graph) -> Expression:
    """A batch norm in train mode, which also gives its new statistics: rebuilt in eval mode."""
    expression = batch_norm("batch_norm")(node, graph)
    if not isinstance(expression, Module):
        raise InvalidModelError(
            f"{node} normalizes by its batch, in train mode, and its weights are computed.",
            hint="Export the model in eval mode.",
        )
    return expression


def softmax(name: str) -> Rebuild:
    """`_softmax(self, dim, half_to_float)`."""

    def row(node: Node, _: Graph) -> Expression:
        return Function(name, (node.ref("self"), node.required("dim")))

    return row


OPS: dict[str, Rebuild] = {
    "_native_batch_norm_legit_no_training": batch_norm_in_eval,
    "_native_batch_norm_legit": trained_batch_norm,
    "_native_batch_norm_legit_functional": trained_batch_norm,
    "_batch_norm_with_update_functional": trained_batch_norm,
    "_native_batch_norm_legit.no_stats": batch_norm_of_the_batch,
    "native_layer_norm": _layer(layer_norm, "native_layer_norm"),
    "native_group_norm": _layer(group_norm, "native_group_norm"),
    "_softmax": softmax("torch.softmax"),
    "_log_softmax": softmax("torch.log_softmax"),
    "_safe_softmax": operator("_safe_softmax"),
}

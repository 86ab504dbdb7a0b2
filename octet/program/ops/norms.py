"""Normalization: each becomes the `nn` module that has its weights and statistics.

Statistics are those of the file: modules come out in eval mode, as a model that was exported in train mode does too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.program.ops.operands import channels_of, shape_of, weights_of
from octet.program.ops.rows import operator
from octet.program.steps import Expression, Module

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node
    from octet.program.ops.rows import Rebuild

_AFFINE = {"weight", "bias"}
_STATISTICS = {"running_mean", "running_var"}
_BATCH_NORMS = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}
_INSTANCE_NORMS = {3: "InstanceNorm1d", 4: "InstanceNorm2d", 5: "InstanceNorm3d"}


def batch_norm(name: str) -> Rebuild:
    """`batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)`, in eval mode.

    Without statistics it normalizes by those of the batch, which FX cannot fold into a convolution: no module then.
    """

    def rebuild(node: Node, graph: Graph) -> Expression:
        kind = _BATCH_NORMS.get(graph.rank(node.ref("input")))
        weights = weights_of(node, graph, "weight", "bias", "running_mean", "running_var")
        if not kind or not weights or set(weights) not in (_STATISTICS, _STATISTICS | _AFFINE):
            return operator(name)(node, graph)
        options = {
            "num_features": shape_of(graph, weights["running_mean"], 1)[0],
            "eps": node.required("eps"),
            "momentum": node.required("momentum"),
            "affine": "weight" in weights,
        }
        return Module(kind, options, weights, (node.ref("input"),))

    return rebuild


def instance_norm(node: Node, graph: Graph) -> Expression:
    """`instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps)`.

    With statistics it is, in eval mode, what batch norm is; the int8 kernel of instance norm would not look at them.
    """
    source = node.ref("input")
    if node.args.get("running_mean") is not None:
        return batch_norm("batch_norm")(node, graph)
    kind = _INSTANCE_NORMS.get(graph.rank(source))
    weights = weights_of(node, graph, "weight", "bias")
    channels = channels_of(graph, source)
    if not kind or weights is None or channels is None or len(weights) == 1:
        return operator("instance_norm")(node, graph)
    options = {"num_features": channels, "eps": node.required("eps"), "affine": bool(weights)}
    return Module(kind, options, weights, (source,))


def layer_norm(node: Node, graph: Graph) -> Expression:
    """`layer_norm(input, normalized_shape, weight, bias, eps)`."""
    weights = weights_of(node, graph, "weight", "bias")
    if weights is None or ("bias" in weights and "weight" not in weights):
        return operator("layer_norm")(node, graph)
    options = {
        "normalized_shape": node.required("normalized_shape"),
        "eps": node.args.get("eps", 1e-5),
        "elementwise_affine": "weight" in weights,
        "bias": "bias" in weights,
    }
    return Module("LayerNorm", options, weights, (node.ref("input"),))


def group_norm(node: Node, graph: Graph) -> Expression:
    """`group_norm(input, num_groups, weight, bias, eps)`."""
    weights = weights_of(node, graph, "weight", "bias")
    channels = channels_of(graph, node.ref("input"))
    if weights is None or channels is None or len(weights) == 1:
        return operator("group_norm")(node, graph)
    options = {
        "num_groups": node.required("num_groups"),
        "num_channels": channels,
        "eps": node.args.get("eps", 1e-5),
        "affine": "weight" in weights,
    }
    return Module("GroupNorm", options, weights, (node.ref("input"),))


def rms_norm(node: Node, graph: Graph) -> Expression:
    """`rms_norm(input, normalized_shape, weight, eps)`; without `eps` it is that of the dtype."""
    weights = weights_of(node, graph, "weight")
    if weights is None:
        return operator("rms_norm")(node, graph)
    options = {
        "normalized_shape": node.required("normalized_shape"),
        "eps": node.args.get("eps"),
        "elementwise_affine": "weight" in weights,
    }
    return Module("RMSNorm", options, weights, (node.ref("input"),))


OPS: dict[str, Rebuild] = {
    "batch_norm": batch_norm("batch_norm"),
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "rms_norm": rms_norm,
}

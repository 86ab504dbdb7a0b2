"""Operators with weights: each becomes the `nn` module that owns them, so that FX can quantize or train it.

A weight may be computed in the graph of other weights (`cat` of q, k and v biases): the module then owns the result.
Where it is computed of an input no module can own it: the operator stays as it is, in float, since FX can only quantize
a function whose weight it can fold.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from octet.program.ops.operands import integer, ranks, shape_of, sizes_of, weights_of
from octet.program.ops.rows import Rebuild, operator
from octet.program.steps import Expression, Function, Module

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node, Value

EMBEDDING_BAG_MODES = ("sum", "mean", "max")


def convolution(dims: int) -> Rebuild:
    """`convNd(input, weight[out, in / groups, *kernel], bias, stride, padding, dilation, groups)`."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        weights = weights_of(node, graph, "weight", "bias")
        if not weights or "weight" not in weights:
            return operator(f"conv{dims}d")(node, graph)
        out_channels, in_channels, *kernel = shape_of(graph, weights["weight"], dims + 2)
        groups = integer(node, "groups", 1)
        dilation = sizes_of(node, "dilation", 1, dims)
        padding = _padding(node, kernel, dilation)
        options = {
            "in_channels": in_channels * groups,
            "out_channels": out_channels,
            "kernel_size": tuple(kernel),
            "stride": sizes_of(node, "stride", 1, dims),
            "padding": tuple(before for before, _ in padding),
            "dilation": dilation,
            "groups": groups,
            "bias": "bias" in weights,
        }
        value: Value | Function = node.ref("input")
        if any(after != before for before, after in padding):  # "same" of an even window: one more behind
            extra: list[Value] = [side for before, after in reversed(padding) for side in (0, after - before)]
            value = Function("torch.nn.functional.pad", (node.ref("input"), extra))
        return Module(f"Conv{dims}d", options, weights, (value,))

    return rebuild


def transposed_convolution(dims: int) -> Rebuild:
    """`conv_transposeNd(input, weight[in, out / groups, *kernel], bias, stride, padding, output_padding, groups)`."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        weights = weights_of(node, graph, "weight", "bias")
        if not weights or "weight" not in weights:
            return operator(f"conv_transpose{dims}d")(node, graph)
        in_channels, out_channels, *kernel = shape_of(graph, weights["weight"], dims + 2)
        groups = integer(node, "groups", 1)
        options = {
            "in_channels": in_channels,
            "out_channels": out_channels * groups,
            "kernel_size": tuple(kernel),
            "stride": sizes_of(node, "stride", 1, dims),
            "padding": sizes_of(node, "padding", 0, dims),
            "output_padding": sizes_of(node, "output_padding", 0, dims),
            "groups": groups,
            "bias": "bias" in weights,
            "dilation": sizes_of(node, "dilation", 1, dims),
        }
        return Module(f"ConvTranspose{dims}d", options, weights, (node.ref("input"),))

    return rebuild


def core_convolution(node: Node, graph: Graph) -> Expression:
    """`convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)`.

    What all of the above are after `run_decompositions`.
    """
    weights = weights_of(node, graph, "weight", "bias")
    weight = graph.weight(node.ref("weight"))
    if weights is None or weight is None:
        return operator("convolution")(node, graph)
    kind = transposed_convolution if node.required("transposed") else convolution
    return kind(len(weight.shape) - 2)(node, graph)


def linear(node: Node, graph: Graph) -> Expression:
    """`linear(input, weight[out, in], bias)`."""
    weights = weights_of(node, graph, "weight", "bias")
    if not weights or "weight" not in weights or ranks(graph, weights) not in ([2], [2, 1]):
        return operator("linear")(node, graph)
    out_features, in_features = shape_of(graph, weights["weight"], 2)
    options = {"in_features": in_features, "out_features": out_features, "bias": "bias" in weights}
    return Module("Linear", options, weights, (node.ref("input"),))


def bilinear(node: Node, graph: Graph) -> Expression:
    """`bilinear(input1, input2, weight[out, in1, in2], bias)`."""
    weights = weights_of(node, graph, "weight", "bias")
    if not weights or "weight" not in weights:
        return operator("bilinear")(node, graph)
    out, first, second = shape_of(graph, weights["weight"], 3)
    options = {"in1_features": first, "in2_features": second, "out_features": out, "bias": "bias" in weights}
    return Module("Bilinear", options, weights, (node.ref("input1"), node.ref("input2")))


def embedding(node: Node, graph: Graph) -> Expression:
    """`embedding(weight[count, dim], indices, padding_idx)`."""
    weights = weights_of(node, graph, "weight")
    if not weights:
        return operator("embedding")(node, graph)
    count, dim = shape_of(graph, weights["weight"], 2)
    padding = integer(node, "padding_idx", -1)
    options = {"num_embeddings": count, "embedding_dim": dim, "padding_idx": padding if padding >= 0 else None}
    return Module("Embedding", options, weights, (node.ref("indices"),))


def embedding_bag(name: str) -> Rebuild:
    """`embedding_bag(weight[count, dim], indices, offsets, …)`; the module gives the first of its four results.

    Its other arguments are the number of the mode, `per_sample_weights`, `include_last_offset` and `padding_idx`.
    """

    def rebuild(node: Node, graph: Graph) -> Expression:
        weights = weights_of(node, graph, "weight")
        mode = integer(node, "mode", 0)
        if not weights or mode not in range(len(EMBEDDING_BAG_MODES)) or not graph.read.isdisjoint(node.results[1:]):
            return operator(name)(node, graph)
        count, dim = shape_of(graph, weights["weight"], 2)
        padding = node.args.get("padding_idx")
        options = {
            "num_embeddings": count,
            "embedding_dim": dim,
            "mode": EMBEDDING_BAG_MODES[mode],
            "include_last_offset": node.args.get("include_last_offset", False),
            "padding_idx": padding if padding != -1 else None,
        }
        each = node.args.get("per_sample_weights")
        inputs = (node.ref("indices"), node.ref("offsets"), *([each] if each is not None else []))
        return Module("EmbeddingBag", options, weights, inputs)

    return rebuild


def embedding_renorm(node: Node, _: Graph) -> Expression:
    """`embedding_renorm_(self, indices, max_norm, norm_type)`: `nn.Embedding(max_norm=…)` shortens the rows it reads.

    All rows are shortened here, which is the same for those that are read and a matter of the weights alone.
    """
    args = (node.ref("self"), node.required("norm_type"), 0, node.required("max_norm"))
    return Function("torch.renorm", args)


def prelu(node: Node, graph: Graph) -> Expression:
    """`prelu(self, weight[channels])`."""
    weights = weights_of(node, graph, "weight")
    if not weights or ranks(graph, weights) != [1]:
        return operator("prelu")(node, graph)
    return Module("PReLU", {"num_parameters": shape_of(graph, weights["weight"], 1)[0]}, weights, (node.ref("self"),))


def _padding(node: Node, kernel: list[int], dilation: tuple[int, ...]) -> list[tuple[int, int]]:
    """Padding before and behind in each dimension, in numbers, which quantized convolutions need."""
    value = node.args.get("padding", 0)
    if value == "same":
        total = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
        return [(pad // 2, pad - pad // 2) for pad in total]
    sizes = (0,) * len(kernel) if value == "valid" else sizes_of(node, "padding", 0, len(kernel))
    return [(size, size) for size in sizes]


OPS: dict[str, Rebuild] = {
    **dict(
        chain.from_iterable(((f"conv{n}d", convolution(n)), (f"conv{n}d.padding", convolution(n))) for n in (1, 2, 3))
    ),
    "conv_transpose1d": transposed_convolution(1),
    "conv_transpose2d.input": transposed_convolution(2),
    "conv_transpose3d.input": transposed_convolution(3),
    "convolution": core_convolution,
    "conv_tbc": operator("conv_tbc"),
    "linear": linear,
    "bilinear": bilinear,
    "_trilinear": operator("_trilinear"),
    "embedding": embedding,
    "embedding_bag": embedding_bag("embedding_bag"),
    "embedding_bag.padding_idx": embedding_bag("embedding_bag"),
    "_embedding_bag": embedding_bag("_embedding_bag"),
    "_embedding_bag_forward_only": embedding_bag("_embedding_bag_forward_only"),
    "embedding_renorm": embedding_renorm,
    "prelu": prelu,
}

"""Operators with weights: each becomes the `nn` module that owns them, so that FX can quantize or train it.

A weight may be computed in the graph of other weights (`cat` of q, k and v biases): the module then owns the result.
Where it is computed of an input no module can own it: the operator stays as it is, in float, since FX can only quantize
a function whose weight it can fold.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from octet.errors import InvalidModelError
from octet.program.graph import Graph, Node, Ref, Value
from octet.program.ops.rows import Rebuild, operator
from octet.program.steps import Expression, Function, Module

ZEROS = frozenset({"aten.zeros.default", "aten.new_zeros.default", "aten.zeros_like.default"})


def weights_of(node: Node, graph: Graph, *names: str) -> dict[str, Ref] | None:
    """The named arguments that are given, if all of them are weights, of the file or computed of such; else None."""
    given = {name: node.args[name] for name in names if node.args.get(name) is not None}
    found = {name: value for name, value in given.items() if isinstance(value, Ref) and graph.weight(value)}
    return found if len(found) == len(given) else None


def shape(graph: Graph, ref: Ref, rank: int) -> tuple[int, ...]:
    """The sizes of a weight that must have `rank` dimensions."""
    weight = graph.weight(ref)
    if weight is None or len(weight.shape) != rank:
        raise InvalidModelError(f"The weight {ref.name!r} does not have {rank} dimensions.")
    return weight.shape


def convolution(dims: int) -> Rebuild:
    """`convNd(input, weight[out, in / groups, *kernel], bias, stride, padding, dilation, groups)`."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        weights = weights_of(node, graph, "weight", "bias")
        if not weights or "weight" not in weights:
            return operator(f"conv{dims}d")(node, graph)
        out_channels, in_channels, *kernel = shape(graph, weights["weight"], dims + 2)
        groups = _integer(node, "groups", 1)
        dilation = _sizes(node, "dilation", 1, dims)
        padding = _padding(node, kernel, dilation)
        options = {
            "in_channels": in_channels * groups,
            "out_channels": out_channels,
            "kernel_size": tuple(kernel),
            "stride": _sizes(node, "stride", 1, dims),
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
        in_channels, out_channels, *kernel = shape(graph, weights["weight"], dims + 2)
        groups = _integer(node, "groups", 1)
        options = {
            "in_channels": in_channels,
            "out_channels": out_channels * groups,
            "kernel_size": tuple(kernel),
            "stride": _sizes(node, "stride", 1, dims),
            "padding": _sizes(node, "padding", 0, dims),
            "output_padding": _sizes(node, "output_padding", 0, dims),
            "groups": groups,
            "bias": "bias" in weights,
            "dilation": _sizes(node, "dilation", 1, dims),
        }
        return Module(f"ConvTranspose{dims}d", options, weights, (node.ref("input"),))

    return rebuild


def linear(node: Node, graph: Graph) -> Expression:
    """`linear(input, weight[out, in], bias)`."""
    weights = weights_of(node, graph, "weight", "bias")
    if not weights or "weight" not in weights:
        return operator("linear")(node, graph)
    out_features, in_features = shape(graph, weights["weight"], 2)
    options = {"in_features": in_features, "out_features": out_features, "bias": "bias" in weights}
    return Module("Linear", options, weights, (node.ref("input"),))


def embedding(node: Node, graph: Graph) -> Expression:
    """`embedding(weight[count, dim], indices, padding_idx)`."""
    weights = weights_of(node, graph, "weight")
    if not weights:
        return operator("embedding")(node, graph)
    count, dim = shape(graph, weights["weight"], 2)
    padding = _integer(node, "padding_idx", -1)
    options = {"num_embeddings": count, "embedding_dim": dim, "padding_idx": padding if padding >= 0 else None}
    return Module("Embedding", options, weights, (node.ref("indices"),))


_STATISTICS = ("running_mean", "running_var")
_BATCH_NORMS = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}


def batch_norm(node: Node, graph: Graph) -> Expression:
    """`batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)`, in eval mode."""
    kind = _BATCH_NORMS.get(graph.rank(node.ref("input")))
    weights = weights_of(node, graph, "weight", "bias", "running_mean", "running_var")
    given = set(weights or ())
    if not kind or not weights or given not in ({*_STATISTICS}, {"weight", "bias", *_STATISTICS}):
        return operator("batch_norm")(node, graph)
    options = {
        "num_features": shape(graph, weights["running_mean"], 1)[0],
        "eps": node.required("eps"),
        "momentum": node.required("momentum"),
        "affine": "weight" in weights,
    }
    return Module(kind, options, weights, (node.ref("input"),))


_INSTANCE_NORMS = {3: "InstanceNorm1d", 4: "InstanceNorm2d", 5: "InstanceNorm3d"}


def instance_norm(node: Node, graph: Graph) -> Expression:
    """`instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps)`."""
    source = node.ref("input")
    kind = _INSTANCE_NORMS.get(graph.rank(source))
    weights = weights_of(node, graph, "weight", "bias", "running_mean", "running_var")
    channels = graph.meta(source).sizes[1].as_int
    if not kind or weights is None or channels is None or set(weights) not in (set(), {"weight", "bias"}):
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
    if weights is None or ("weight" in weights) != ("bias" in weights):
        return operator("group_norm")(node, graph)
    channels = graph.meta(node.ref("input")).sizes[1].as_int
    options = {
        "num_groups": node.required("num_groups"),
        "num_channels": channels,
        "eps": node.args.get("eps", 1e-5),
        "affine": "weight" in weights,
    }
    return Module("GroupNorm", options, weights, (node.ref("input"),))


def prelu(node: Node, graph: Graph) -> Expression:
    """`prelu(self, weight[channels])`."""
    weights = weights_of(node, graph, "weight")
    if not weights:
        return operator("prelu")(node, graph)
    return Module("PReLU", {"num_parameters": shape(graph, weights["weight"], 1)[0]}, weights, (node.ref("self"),))


def recurrent(kind: str, gates: int, **fixed: Any) -> Rebuild:
    """`lstm.input`, `gru.input`, `rnn_*.input`: (input, hx, params, has_biases, num_layers, dropout, …).

    The graph returns (output, h, c) flat, an LSTM module (output, (h, c)). An initial state of zeros is left out: the
    module makes it itself, for any batch.
    """

    def rebuild(node: Node, graph: Graph) -> Expression:
        params = _refs(node, "params")
        biased, layers = bool(node.required("has_biases")), _integer(node, "num_layers", 1)
        bidirectional = bool(node.required("bidirectional"))
        directions = 1 + bidirectional
        each, rest = divmod(len(params), layers * directions)
        projected = each == (5 if biased else 3)
        if rest or each != 2 + 2 * biased + projected or not all(graph.weight(ref) for ref in params):
            raise InvalidModelError(f"{node.target} in module {node.module!r} has weights that are not an {kind}'s.")
        rows, inputs = shape(graph, params[0], 2)
        options = {
            "input_size": inputs,
            "hidden_size": rows // gates,
            "num_layers": layers,
            "bias": biased,
            "batch_first": node.required("batch_first"),
            "dropout": node.required("dropout"),
            "bidirectional": bidirectional,
            **fixed,
        }
        if projected:
            options["proj_size"] = shape(graph, params[1], 2)[1]
        names = _recurrent_names(layers, directions, biased, projected)
        results: tuple[tuple[int, ...], ...] = ((0,), (1, 0), (1, 1)) if kind == "LSTM" else ((0,), (1,))
        state = _initial_state(node, graph)
        return Module(kind, options, dict(zip(names, params, strict=True)), (node.ref("input"), *state), results)

    return rebuild


def _recurrent_names(layers: int, directions: int, biased: bool, projected: bool) -> list[str]:
    stems = [
        "weight_ih",
        "weight_hh",
        *(["bias_ih", "bias_hh"] if biased else []),
        *(["weight_hr"] if projected else []),
    ]
    suffixes = [f"_l{layer}{way}" for layer in range(layers) for way in ("", "_reverse")[:directions]]
    return [stem + suffix for suffix in suffixes for stem in stems]


def _initial_state(node: Node, graph: Graph) -> tuple[Value, ...]:
    hidden = node.required("hx")
    states = _refs(node, "hx") if isinstance(hidden, list) else [node.ref("hx")]
    makers = [graph.producer(state) for state in states]
    if all(maker is not None and maker.target in ZEROS for maker in makers):
        return ()
    return (tuple(states),) if isinstance(hidden, list) else (states[0],)


def _refs(node: Node, name: str) -> list[Ref]:
    value = node.required(name)
    found = [item for item in value if isinstance(item, Ref)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(found) != len(value):
        raise InvalidModelError(f"{node.target} in module {node.module!r}: argument {name!r} is not a list of tensors.")
    return found


def _integer(node: Node, name: str, default: int) -> int:
    value = node.args.get(name, default)
    if not isinstance(value, int):
        raise InvalidModelError(f"{node.target} in module {node.module!r}: argument {name!r} is not a number.")
    return value


def _sizes(node: Node, name: str, default: int, dims: int) -> tuple[int, ...]:
    """One number for each dimension; the graph may give one for all."""
    value = node.args.get(name, default)
    given = list(value) if isinstance(value, list) else [value]
    sizes = [size for size in given if isinstance(size, int)]
    if len(sizes) != len(given) or len(sizes) not in {1, dims}:
        raise InvalidModelError(f"{node.target} in module {node.module!r}: argument {name!r} is not {dims} numbers.")
    return tuple(sizes if len(sizes) == dims else sizes * dims)


def _padding(node: Node, kernel: list[int], dilation: tuple[int, ...]) -> list[tuple[int, int]]:
    """Padding before and behind in each dimension, in numbers, which quantized convolutions need."""
    value = node.args.get("padding", 0)
    if value == "same":
        total = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
        return [(pad // 2, pad - pad // 2) for pad in total]
    sizes = (0,) * len(kernel) if value == "valid" else _sizes(node, "padding", 0, len(kernel))
    return [(size, size) for size in sizes]


OPS: dict[str, Rebuild] = {
    **dict(
        chain.from_iterable(((f"conv{n}d", convolution(n)), (f"conv{n}d.padding", convolution(n))) for n in (1, 2, 3))
    ),
    "conv_transpose1d": transposed_convolution(1),
    "conv_transpose2d.input": transposed_convolution(2),
    "conv_transpose3d.input": transposed_convolution(3),
    "linear": linear,
    "embedding": embedding,
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "prelu": prelu,
    "lstm.input": recurrent("LSTM", gates=4),
    "gru.input": recurrent("GRU", gates=3),
    "rnn_tanh.input": recurrent("RNN", gates=1, nonlinearity="tanh"),
    "rnn_relu.input": recurrent("RNN", gates=1, nonlinearity="relu"),
}

"""Elementwise nonlinearities and dropout. They come back as modules, so that FX can fuse them and QAT can train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.program.ops.rows import Rebuild, function, module, operator
from octet.program.steps import Expression, Module

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node

RELU6 = (0.0, 6.0)
_FEATURE_DROPOUTS = {2: "Dropout1d", 3: "Dropout1d", 4: "Dropout2d", 5: "Dropout3d"}


def hardtanh(node: Node, graph: Graph) -> Expression:
    """`hardtanh(self, min_val, max_val)`; ReLU6 is exported as this."""
    if (node.args.get("min_val"), node.args.get("max_val")) == RELU6:
        return Module("ReLU6", {}, {}, (node.ref("self"),))
    return module("Hardtanh", min_val=-1.0, max_val=1.0)(node, graph)


def elu(node: Node, graph: Graph) -> Expression:
    """`elu(self, alpha, scale, input_scale)`; `run_decompositions` makes SELU and CELU of its scales."""
    if any(node.args.get(name, 1) != 1 for name in ("scale", "input_scale")):
        return operator("elu")(node, graph)
    return module("ELU", alpha=1.0)(node, graph)


def feature_dropout(node: Node, graph: Graph) -> Expression:
    """`feature_dropout(input, p, train)`: whole channels; its module is named after the dimensions of a channel."""
    # In place, torch calls the same argument `self`.
    kind = _FEATURE_DROPOUTS.get(graph.rank(node.ref(node.positional[0])))
    return module(kind, p=0.5)(node, graph) if kind else operator("feature_dropout")(node, graph)


OPS: dict[str, Rebuild] = {
    "relu": module("ReLU"),
    "relu6": module("ReLU6"),
    "hardtanh": hardtanh,
    "leaky_relu": module("LeakyReLU", negative_slope=0.01),
    "elu": elu,
    "selu": module("SELU"),
    "celu": module("CELU", alpha=1.0),
    "gelu": module("GELU", approximate="none"),
    "silu": module("SiLU"),
    "mish": module("Mish"),
    "hardswish": module("Hardswish"),
    "hardsigmoid": module("Hardsigmoid"),
    "sigmoid": module("Sigmoid"),
    "tanh": module("Tanh"),
    "softplus": module("Softplus", beta=1.0, threshold=20.0),
    "log_sigmoid": module("LogSigmoid"),
    "softshrink": module("Softshrink", lambd=0.5),
    "hardshrink": module("Hardshrink", lambd=0.5),
    "threshold": module("Threshold", threshold=0.0, value=0.0),
    "rrelu": module("RReLU", lower=1 / 8, upper=1 / 3),
    "rrelu_with_noise_functional": module("RReLU", lower=1 / 8, upper=1 / 3),
    "glu": function("torch.nn.functional.glu"),
    "dropout": module("Dropout", p=0.5),
    "feature_dropout": feature_dropout,
    "alpha_dropout": module("AlphaDropout", p=0.5),
    "feature_alpha_dropout": module("FeatureAlphaDropout", p=0.5),
}

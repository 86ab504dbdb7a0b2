"""Elementwise nonlinearities and dropout. They come back as modules, so that FX can fuse them and QAT can train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.program.ops.rows import Rebuild, function, module
from octet.program.steps import Expression, Module

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node

RELU6 = (0.0, 6.0)


def hardtanh(node: Node, _: Graph) -> Expression:
    """`hardtanh(self, min_val, max_val)`; ReLU6 is exported as this."""
    low, high = node.args.get("min_val", -1.0), node.args.get("max_val", 1.0)
    if (low, high) == RELU6:
        return Module("ReLU6", {}, {}, (node.ref("self"),))
    return Module("Hardtanh", {"min_val": low, "max_val": high}, {}, (node.ref("self"),))


OPS: dict[str, Rebuild] = {
    "relu": module("ReLU"),
    "relu6": module("ReLU6"),
    "hardtanh": hardtanh,
    "leaky_relu": module("LeakyReLU", negative_slope=0.01),
    "elu": module("ELU", alpha=1.0),
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
    "softmax.int": function("torch.softmax"),
    "log_softmax.int": function("torch.log_softmax"),
    "glu": function("torch.nn.functional.glu"),
    "dropout": module("Dropout", p=0.5),
    "feature_dropout": module("Dropout2d", p=0.5),
    "alpha_dropout": module("AlphaDropout", p=0.5),
    "feature_alpha_dropout": module("FeatureAlphaDropout", p=0.5),
}

"""What calls do to the channels that they read: one rule for each kind of call."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node
from torch.nn import functional
from torch.utils._pytree import tree_map_only

from octet.kernels import WEIGHTED
from octet.quantization.repairs.classes import compact
from octet.quantization.repairs.rows import channel_dim

if TYPE_CHECKING:
    from octet.quantization.repairs.channels import Flow

Rule = Callable[["Flow", Node, Any], Any]
"""The numbers of what a call gives, from the flow, the call, and what it gave; None: all it reads keeps its scale."""


def opaque(flow: Flow, node: Node, value: Any) -> None:
    """The rule for all that is not in the table."""
    del flow, node, value


def _layer(flow: Flow, node: Node, value: Any) -> Any:
    """A new channel for each row of the weight."""
    dim = channel_dim(flow.called(node))
    read = flow.numbers(node).movedim(dim, -1)
    inputs, read = read.shape[-1], compact(read)
    read = read.reshape(-1, read.shape[-1])
    flow.classes.join(read, read[:1])
    given = flow.classes.add(value.shape[dim])
    flow.note_site(node, read[0].expand(inputs), given)
    return given.expand(value.movedim(dim, -1).shape).movedim(-1, dim)


def _same(flow: Flow, node: Node, value: Any) -> Any:
    del value
    return flow.numbers(node)


def _clamp(flow: Flow, node: Node, value: Any) -> Any:
    flow.note_bound(node)
    return _same(flow, node, value)


def _over_space(flow: Flow, node: Node, value: Any) -> Any:
    """Pooling, resampling and padding: weighted sums, or extremes, within channels."""
    numbers = flow.numbers(node)
    if not isinstance(value, torch.Tensor) or numbers.shape[:2] != value.shape[:2] or _pads_with_values(node):
        return None
    first = numbers
    for dim in range(2, numbers.dim()):
        first = first.narrow(dim, 0, 1)
    flow.classes.join(numbers, first)
    return first.expand(value.shape)


def _pads_with_values(node: Node) -> bool:
    options = {**dict(zip(("mode", "value"), node.args[2:], strict=False)), **node.kwargs}
    return (
        node.target is functional.pad and options.get("mode", "constant") == "constant" and bool(options.get("value"))
    )


def _moved(flow: Flow, node: Node, value: Any) -> Any:
    """What puts values in other places does the same to the numbers."""
    del value
    args, kwargs = flow.arguments(node)
    if flow.kind(node) in _NEED_MEMORY:
        args = tree_map_only(torch.Tensor, torch.Tensor.contiguous, args)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    called: Any = flow.called(node) if node.op == "call_module" else node.target
    return called(*args, **kwargs)


_NEED_MEMORY = frozenset({"view", "unflatten", "Unflatten"})
"""Calls that take a tensor only as it lies in memory, where numbers that repeat have none."""


_OPERANDS = 2


def _sum(flow: Flow, node: Node, value: Any) -> Any:
    """Channels that are added share their scale; a constant has one of its own."""
    if len(node.args) < _OPERANDS:
        return None
    one, other = (flow.operand(argument) for argument in node.args[:2])
    flow.classes.join(one, other)
    return one.expand(value.shape)


def _product(flow: Flow, node: Node, value: Any) -> Any:
    """One factor keeps its scale, and the other has any."""
    if len(node.args) < _OPERANDS:
        return None
    scaled, gate = (flow.operand(argument) for argument in node.args[:2])
    if node.target not in _QUOTIENTS and not scaled.any():  # all of it keeps its scale anyway
        scaled, gate = gate, scaled
    flow.classes.fix(gate)
    return scaled.expand(value.shape)


_QUOTIENTS = (torch.div, operator.truediv)


def _mean(flow: Flow, node: Node, value: Any) -> Any:
    """Channels that a mean or a sum is taken over share their scale."""
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    if not isinstance(dims, (int, tuple, list)):
        return None
    numbers = flow.numbers(node)
    most = numbers.amax(dims, keepdim=True)
    flow.classes.join(numbers, most)
    return most.reshape(value.shape)


def _size(flow: Flow, node: Node, value: Any) -> Any:
    del flow, node
    return value


RULES: dict[Any, Rule] = {
    **dict.fromkeys(WEIGHTED, _layer),
    **dict.fromkeys(
        ("ReLU", "LeakyReLU", "PReLU", "Identity", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "clone", "relu",
         torch.relu, torch.neg, torch.clone, functional.relu, functional.leaky_relu, functional.dropout),
        _same,
    ),
    **dict.fromkeys(("ReLU6", "Hardtanh"), _clamp),
    **dict.fromkeys(
        (*(f"{kind}Pool{dims}d" for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax") for dims in (1, 2, 3)),
         *(f"{kind}Pad{dims}d" for kind in ("Zero", "Reflection", "Replication", "Circular") for dims in (1, 2, 3)),
         "Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d",
         functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d, functional.max_pool1d,
         functional.max_pool2d, functional.max_pool3d, functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d,
         functional.adaptive_avg_pool3d, functional.interpolate, functional.pad),
        _over_space,
    ),
    **dict.fromkeys(
        ("Flatten", "Unflatten", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle", "flatten", "unflatten", "reshape",
         "view", "contiguous", "expand", "permute", "transpose", "unsqueeze", "squeeze", "chunk", "split",
         torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.unsqueeze, torch.squeeze, torch.movedim,
         torch.cat, torch.stack, torch.chunk, torch.split, torch.unbind, torch.select, torch.narrow,
         torch.ops.aten.slice, torch.index_select, torch.flip, torch.roll, torch.pixel_shuffle, torch.pixel_unshuffle,
         torch.channel_shuffle, operator.getitem),
        _moved,
    ),
    **dict.fromkeys((torch.add, torch.sub, operator.add, operator.sub), _sum),
    **dict.fromkeys((torch.mul, operator.mul, *_QUOTIENTS), _product),
    **dict.fromkeys((torch.mean, torch.sum, "mean", "sum"), _mean),
    **dict.fromkeys(("size", "dim", "numel", getattr), _size),
}  # fmt: skip
"""What is known of modules, by the name of their class, of functions, and of tensor methods, by their name."""

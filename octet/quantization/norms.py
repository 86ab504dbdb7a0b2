"""Batch norms made part of the layers before them."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch
from torch import fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from octet.folding import NORM_CHANNEL, NORMS, Move, is_move, moved_channel, output_channel
from octet.kernels import WEIGHTED

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node
    from torch.nn.modules.batchnorm import _BatchNorm

    from octet.quantization.shapes import Shapes
    from octet.recipe import Recipe


_Layer = nn.Linear | _ConvNd


@dataclass
class Norms:
    """What became of the batch norms of a graph.

    Attributes:
        homes: Path of each that is gone -> path of the layer that it is now part of.
        gone: Those, by path.
        lone: Path of each that cannot become part of a layer -> the reason.
    """

    homes: dict[str, str] = field(default_factory=dict)
    gone: dict[str, nn.Module] = field(default_factory=dict)
    lone: dict[str, str] = field(default_factory=dict)


class _AloneError(Exception):
    """Says why a batch norm stays where it is."""


def fold_batch_norms(module: GraphModule, recipe: Recipe, shapes: Shapes) -> Norms:
    """Folds the batch norms of `module` into the layers before them, wherever that computes the same.

    What QAT can train as one layer is left to FX, which does that; it does not look whether the channels are the same.
    Repairs are done to whole layers, so with them norms are folded first: their statistics stay as they are.
    """
    norms = Norms()
    for path, calls in _calls(module).items():
        norm = module.get_submodule(path)
        if type(norm).__name__ not in NORMS:
            continue
        try:
            layers = [_layer_before(call, module, shapes) for call in calls]
            home = _home(layers, module)
        except _AloneError as error:
            norms.lone[path] = str(error)
            _keep_apart(calls, module)
            continue
        if recipe.method == "qat" and not recipe.repairs.any and _trains_together(calls, layers, module):
            continue
        module.add_submodule(home, folded(cast("_Layer", module.get_submodule(home)), cast("_BatchNorm", norm)))
        for call in calls:
            call.replace_all_uses_with(_source(call))
            module.graph.erase_node(call)
        norms.homes[path], norms.gone[path] = home, norm
    return norms


def folded(layer: _Layer, norm: _BatchNorm) -> _Layer:
    """A copy of `layer` that gives what `norm` makes of what `layer` gives (arXiv 1712.05877, section 3.2)."""
    assert norm.running_mean is not None  # noqa: S101 - a norm without statistics is no module
    assert norm.running_var is not None  # noqa: S101
    own = copy.deepcopy(layer)
    with torch.no_grad():
        scale = torch.rsqrt(norm.running_var + norm.eps)
        scale = scale if norm.weight is None else norm.weight * scale
        shift = (0.0 if norm.bias is None else norm.bias) - norm.running_mean * scale
        own.weight = nn.Parameter(_scaled(layer, scale), layer.weight.requires_grad)
        own.bias = nn.Parameter(shift if layer.bias is None else layer.bias * scale + shift)
    return own


def _scaled(layer: _Layer, scale: Tensor) -> Tensor:
    """The weight of `layer` with each output channel scaled.

    It is [out, in / groups, *kernel], or [in, out / groups, *kernel] of a transposed convolution.
    """
    weight = layer.weight
    if not isinstance(layer, _ConvTransposeNd):
        return weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return (grouped * scale.reshape(layer.groups, 1, -1, *[1] * (weight.dim() - 2))).reshape(weight.shape)


def _calls(module: GraphModule) -> dict[str, list[Node]]:
    calls: dict[str, list[Node]] = defaultdict(list)
    for node in module.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)].append(node)
    return dict(calls)


def _layer_before(call: Node, module: GraphModule, shapes: Shapes) -> Node:
    """The call of the layer that can do what the batch norm of `call` does.

    Raises:
        _AloneError: If there is none.
    """
    moves: list[Move] = []
    node = _source(call)
    while not _is_layer(node, module):
        if node.op in {"placeholder", "get_attr"}:
            raise _AloneError("nothing before it has weights")
        _check_read_once(node, module)
        source = _source(node)
        if not is_move(name := _name(node, module)):
            raise _AloneError(f"it cannot be moved past {_described(node, module)}, which makes what it reads")
        before, after = (shapes.get(each.name, ()) for each in (source, node))
        moves.append(Move(name, node.args[1:], node.kwargs, before, after))
        node = source
    _check_read_once(node, module)
    rank = len(shapes.get(node.name, ()))
    channel: int | None = output_channel(_name(node, module), rank) if rank else None
    for move in reversed(moves):
        channel = None if channel is None else moved_channel(move, channel)
    if channel is None:
        raise _AloneError(f"it cannot be moved past what lies between it and {_described(node, module)}")
    if channel != NORM_CHANNEL:
        raise _AloneError(f"its channels are not those of {_described(node, module)}")
    return node


def _home(layers: list[Node], module: GraphModule) -> str:
    """The layer that all of `layers` call, if nothing else does."""
    first = layers[0]
    if any(layer.target != first.target for layer in layers):
        raise _AloneError("it is called behind several layers")
    if sum(node.op == "call_module" and node.target == first.target for node in module.graph.nodes) > len(layers):
        raise _AloneError(f"{_described(first, module)} is called without it too")
    return str(first.target)


def _check_read_once(node: Node, module: GraphModule) -> None:
    if len(node.users) > 1:
        raise _AloneError(f"more than one call reads what {_described(node, module)} gives")


def _keep_apart(calls: list[Node], module: GraphModule) -> None:
    """Keeps FX from folding what must not be: it looks at types, not at channels or at other calls of a layer."""
    for call in calls:
        layer = _source(call)
        if _is_layer(layer, module) and len(layer.users) == 1:
            with module.graph.inserting_before(call):
                call.replace_input_with(layer, module.graph.call_method("contiguous", (layer,)))


def _trains_together(calls: list[Node], layers: list[Node], module: GraphModule) -> bool:
    """Whether torch has a module for QAT that is the layer and the batch norm in one."""
    norm = module.get_submodule(str(calls[0].target))
    direct = all(_source(call) is layer for call, layer in zip(calls, layers, strict=True))
    return direct and bool(norm.affine) and (_name(layers[0], module), type(norm).__name__) in _TRAINED


_TRAINED = frozenset({("Linear", "BatchNorm1d"), *((f"Conv{dims}d", f"BatchNorm{dims}d") for dims in (1, 2, 3))})


def _is_layer(node: Node, module: GraphModule) -> bool:
    return node.op == "call_module" and _name(node, module) in WEIGHTED


def _source(node: Node) -> Node:
    """What `node` reads first."""
    return node.args[0] if node.args and isinstance(node.args[0], fx.Node) else node.all_input_nodes[0]


def _name(node: Node, module: GraphModule) -> str:
    """What `node` calls: the type of a module, the name of a function or method."""
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))).__name__
    return getattr(node.target, "__name__", str(node.target))


def _described(node: Node, module: GraphModule) -> str:
    return repr(node.target) if node.op == "call_module" else f"`{_name(node, module)}`"

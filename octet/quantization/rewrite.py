"""What FX graph mode would get wrong in a graph, put right before it sees it."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.nn import functional

if TYPE_CHECKING:
    from octet.recipe import Recipe


@dataclass(frozen=True)
class Rewritten:
    """A graph that computes the same, in which each layer can be quantized on its own.

    Attributes:
        module: The graph; its weights are those of the graph it was made from.
        sources: Path of a layer that was added -> path of the layer it is a further call of.
        warnings: What is left in float by it.
    """

    module: fx.GraphModule
    sources: dict[str, str]
    warnings: tuple[str, ...]


def rewrite(module: fx.GraphModule, recipe: Recipe) -> Rewritten:
    """`module` rewritten for `recipe`; `module` itself is left as it is."""
    own = fx.GraphModule(module, copy.copy(module.graph))
    warnings = _hide_computed_weights(own.graph)
    sources = _unshare(own, recipe)
    own.recompile()
    return Rewritten(own, sources, warnings)


# FX knows these functions and packs their second argument, the weight, ahead of time. It does not know the operators.
_PACKED: dict[Any, Any] = {
    functional.linear: torch.ops.aten.linear,
    functional.conv1d: torch.ops.aten.conv1d,
    functional.conv2d: torch.ops.aten.conv2d,
    functional.conv3d: torch.ops.aten.conv3d,
    functional.conv_transpose1d: torch.ops.aten.conv_transpose1d,
    functional.conv_transpose2d: torch.ops.aten.conv_transpose2d,
    functional.conv_transpose3d: torch.ops.aten.conv_transpose3d,
}


def _hide_computed_weights(graph: fx.Graph) -> tuple[str, ...]:
    """Keeps a call in float whose weight is not there before the input is.

    FX looks for the weight's origin, fails where it finds a `cat`, and elsewhere packs the weight anew at every call.
    """
    warnings = []
    for node in graph.nodes:
        weight = node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
        if node.op == "call_function" and node.target in _PACKED and weight.op != "get_attr":
            warnings.append(f"A call of `{node.target.__name__}` was left in float: its weight is computed.")
            node.target = _PACKED[node.target]
    return tuple(warnings)


def _unshare(module: fx.GraphModule, recipe: Recipe) -> dict[str, str]:
    """Gives each call of a layer with weights a module of its own; the float weights stay shared.

    FX fuses and scales per module, not per call. A linear layer that is followed by a ReLU in one place and not in
    another becomes one LinearReLU that both use; a layer that is called twice gets one output scale for two ranges.
    Under `dynamic` nothing is scaled in advance: there, only layers that are followed by different things are taken
    apart, so that a model that calls one block many times does not grow.
    """
    calls: dict[str, list[fx.Node]] = defaultdict(list)
    for node in module.graph.nodes:
        if node.op == "call_module" and _has_weights(module, node):
            calls[node.target].append(node)
    sources: dict[str, str] = {}
    # From the end, since what follows a layer may itself have just been taken apart.
    for path, nodes in reversed(calls.items()):
        if recipe.method != "dynamic" or len({_followers(node, module) for node in nodes}) > 1:
            for number, node in enumerate(nodes[1:], start=2):
                node.target = f"{path}_call_{number}"
                module.add_submodule(node.target, copy.copy(module.get_submodule(path)))
                sources[node.target] = path
    return sources


def _followers(node: fx.Node, module: fx.GraphModule) -> frozenset[Any]:
    """What reads the output of `node`: layers with weights by their path, all else by its kind."""
    return frozenset(_kind(user, module) for user in node.users)


def _kind(user: fx.Node, module: fx.GraphModule) -> Any:
    if user.op != "call_module" or _has_weights(module, user):
        return user.target
    return type(module.get_submodule(str(user.target)))


def _has_weights(module: fx.GraphModule, node: fx.Node) -> bool:
    return next(module.get_submodule(str(node.target)).parameters(), None) is not None

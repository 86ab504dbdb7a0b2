"""What FX graph mode would get wrong in a graph, put right before it sees it."""

from __future__ import annotations

import copy
import operator
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.nn import functional

from octet.quantization.norms import Norms, fold_batch_norms

if TYPE_CHECKING:
    from octet.quantization.shapes import Shapes
    from octet.recipe import Recipe


@dataclass(frozen=True)
class Rewritten:
    """A graph that computes the same, in which each layer can be quantized on its own.

    Attributes:
        module: The graph; its weights are those of the graph it was made from, batch norms folded in apart.
        sources: Path of a layer that was added -> path of the layer it is a further call of.
        norms: What became of the batch norms.
        warnings: What is left in float by it.
    """

    module: fx.GraphModule
    sources: dict[str, str]
    norms: Norms
    warnings: tuple[str, ...]


def rewrite(module: fx.GraphModule, recipe: Recipe, shapes: Shapes) -> Rewritten:
    """`module` rewritten for `recipe`; `module` itself is left as it is."""
    own = fx.GraphModule(module, copy.deepcopy(module.graph))
    warnings = _hide_computed_weights(own.graph)
    _spell_out_alpha(own.graph)
    _unpack_operands(own.graph)
    if recipe.engine == "onednn":
        _keep_apart_what_broadcasts(own.graph, shapes)
    sources = _unshare(own, recipe)
    norms = fold_batch_norms(own, recipe, shapes)
    own.recompile()
    return Rewritten(own, sources, norms, warnings)


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
_IN_FLOAT = frozenset(_PACKED.values()) | {torch.ops.aten.convolution}


def _hide_computed_weights(graph: fx.Graph) -> tuple[str, ...]:
    """Keeps a call in float whose weight is not there before the input is; what is there is the weight of a module.

    FX looks for the weight's origin, fails where it finds a `cat`, and elsewhere packs the weight anew at every call.
    """
    warnings = []
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        weight = node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
        if node.target in _PACKED and weight.op != "get_attr":
            node.target = _PACKED[node.target]
        if node.target in _IN_FLOAT:
            warnings.append(f"The call {node.name!r} was left in float: its weight is computed at every call.")
    return tuple(warnings)


def _spell_out_alpha(graph: fx.Graph) -> None:
    """Writes `add(x, y, alpha=a)` as `add(x, y * a)`: the int8 kernel that FX puts in its place takes no alpha."""
    for node in list(graph.nodes):
        alpha = node.kwargs.get("alpha", 1) if node.target is torch.add else 1
        if alpha != 1:
            with graph.inserting_before(node):
                scaled = graph.call_function(torch.mul, (node.args[1], alpha))
            node.args = (node.args[0], scaled)
            node.kwargs = {}


def _unpack_operands(graph: fx.Graph) -> None:
    """Writes `einsum(equation, [x, y])` as `einsum(equation, x, y)`: FX takes what reads the former for float."""
    for node in graph.nodes:
        if node.target is torch.functional.einsum and len(node.args) > 1 and isinstance(node.args[1], (list, tuple)):
            node.args = (node.args[0], *node.args[1])


def _keep_apart_what_broadcasts(graph: fx.Graph, shapes: Shapes) -> None:
    """Keeps a convolution and an addition of another shape from becoming one kernel.

    oneDNN's conv + add adds in the addend's memory without looking at its size: where one of them is broadcast, it
    writes beyond the end. A parameter is kept apart too: it may have the shape of this one batch.
    """
    for node in graph.nodes:
        if node.target not in {torch.add, operator.add}:
            continue
        sizes = {shapes.get(source.name) for source in node.all_input_nodes}
        if len(sizes) > 1 or any(source.op == "get_attr" for source in node.all_input_nodes):
            for layer in [source for source in node.all_input_nodes if source.op == "call_module"]:
                with graph.inserting_before(node):
                    node.replace_input_with(layer, graph.call_method("contiguous", (layer,)))


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

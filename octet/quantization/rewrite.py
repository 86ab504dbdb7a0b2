"""What FX graph mode would get wrong in a graph, put right before it sees it."""

from __future__ import annotations

import copy
import operator
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from octet.kernels import FOLDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from octet.quantization.shapes import Shapes
    from octet.recipe import Recipe


@dataclass(frozen=True)
class Rewritten:
    """A graph that computes the same, in which each layer can be quantized on its own.

    Attributes:
        module: The graph; its weights are those of the graph it was made from, batch norms folded in apart.
        sources: Path of a layer that was added -> path of the layer it is a further call of.
        folded: Path of a batch norm that is gone -> path of the layer that it is now part of.
        folded_layers: The batch norms that are gone, by path.
        warnings: What is left in float by it.
    """

    module: fx.GraphModule
    sources: dict[str, str]
    folded: dict[str, str]
    folded_layers: dict[str, nn.Module]
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
    folded = _fold_batch_norms(own, recipe)
    own.recompile()
    homes = {name: home for name, (home, _) in folded.items()}
    return Rewritten(own, sources, homes, {name: norm for name, (_, norm) in folded.items()}, warnings)


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


def _fold_batch_norms(module: fx.GraphModule, recipe: Recipe) -> dict[str, tuple[str, nn.Module]]:
    """Folds batch norms where FX does it wrongly or not at all; path of each -> the layer it is part of, and itself.

    FX loses the ReLU behind linear + batch norm, and refuses to train a transposed convolution with one.
    """
    folded = {}
    calls = Counter(str(node.target) for node in module.graph.nodes if node.op == "call_module")
    for node in list(module.graph.nodes):
        before = node.all_input_nodes[0] if node.op == "call_module" and len(node.all_input_nodes) == 1 else None
        if before is None or before.op != "call_module" or len(before.users) > 1:
            continue
        path, home = str(node.target), str(before.target)
        norm, layer = module.get_submodule(path), module.get_submodule(home)
        fold = _folding(layer, norm, recipe)
        if fold is not None and calls[path] == calls[home] == 1:
            module.add_submodule(home, fold(layer, norm))
            node.replace_all_uses_with(before)
            module.graph.erase_node(node)
            folded[path] = (home, norm)
    return folded


def _folding(layer: nn.Module, norm: nn.Module, recipe: Recipe) -> Callable[..., nn.Module] | None:
    """What folds `norm` into `layer` ahead of FX, if that is to be done."""
    if type(layer).__name__ not in FOLDS.get(type(norm).__name__, ()):
        return None
    if isinstance(layer, _ConvTransposeNd):
        return partial(fuse_conv_bn_eval, transpose=True)
    return fuse_linear_bn_eval if isinstance(layer, nn.Linear) and recipe.method != "qat" else None


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

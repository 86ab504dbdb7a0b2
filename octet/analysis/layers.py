"""What was done to each layer with weights, and what that cost: torch's Numeric Suite, in decibels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octet.analysis.activations import activation_noise
from octet.measure import Noise
from octet.quantization import executed_method, fuse, weight_pairs
from octet.report import LayerFacts

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

    from octet.data.samples import Samples
    from octet.quantization import Quantized
    from octet.recipe import Recipe
    from octet.spec import Layer, ProgramSpec


def layer_facts(spec: ProgramSpec, quantized: Quantized, recipe: Recipe, samples: Samples) -> tuple[LayerFacts, ...]:
    """One entry per layer that holds weights, in the order of `spec`; the engine must be set.

    A layer that is called several times is shown by its first call. A batch norm that was folded into the layer before
    it shares that layer's method and has no error of its own. Without `recipe.measure.layers`, errors are left out.
    """
    weighted = [layer for layer in spec.layers if layer.parameters]
    folded = quantized.folded | _folded_into(quantized.source, quantized.int8)
    noise: dict[str, Noise] = {}
    if recipe.measure.layers:
        names = {layer.name for layer in weighted}
        noise = activation_noise(fuse(quantized.source, quantized.plan, recipe), quantized.int8, names, samples)
    return tuple(_facts(layer, folded.get(layer.name, layer.name), quantized, recipe, noise) for layer in weighted)


def _facts(layer: Layer, home: str, quantized: Quantized, recipe: Recipe, noise: dict[str, Noise]) -> LayerFacts:
    int8 = dict(quantized.int8.named_modules(remove_duplicate=False)).get(home)
    executed = executed_method(int8) if int8 is not None else "float"
    planned = quantized.plan.layers.get(home)
    return LayerFacts(
        name=layer.name,
        type=layer.type,
        method="qat" if executed == "static" and recipe.method == "qat" else executed,
        reason=(planned and planned.reason) or f"torch has no int8 kernel for {layer.type} here"
        if executed == "float"
        else None,
        parameters=layer.parameters,
        weight_sqnr_db=_weight_sqnr(home, quantized) if home == layer.name and executed != "float" else None,
        activation_sqnr_db=noise[layer.name].sqnr_db if layer.name in noise else None,
    )


def _weight_sqnr(name: str, quantized: Quantized) -> float | None:
    noise = Noise()
    for before, after in weight_pairs(quantized.observed.get_submodule(name), quantized.int8.get_submodule(name)):
        noise.add(before, after)
    return noise.sqnr_db


def _folded_into(source: GraphModule, int8: GraphModule) -> dict[str, str]:
    """Layers that are gone from the int8 graph -> the layer upstream that they were fused into."""
    kept = {str(node.target) for node in int8.graph.nodes if node.op == "call_module"}
    gone = (node for node in source.graph.nodes if node.op == "call_module" and node.target not in kept)
    return {str(node.target): home for node in gone if (home := _upstream(node, kept))}


def _upstream(node: Node, kept: set[str]) -> str | None:
    current: Any = node
    while current.all_input_nodes:
        current = current.all_input_nodes[0]
        if current.op == "call_module" and current.target in kept:
            return str(current.target)
    return None

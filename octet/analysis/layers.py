"""What was done to each layer with weights, and what that cost: torch's Numeric Suite, in decibels, and time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from octet.analysis.errors import LayerErrors, layer_errors
from octet.analysis.latency import latency_shares
from octet.measure import Noise, measuring_alone, threads_of
from octet.measure.latency import threads
from octet.quantization import executed_method, fuse, weight_pairs
from octet.report import LayerFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.fx import GraphModule, Node

    from octet.data.samples import Samples
    from octet.quantization import Quantized
    from octet.recipe import Recipe
    from octet.spec import Layer, ProgramSpec

MOST_SECONDS_OF_TIMING = 2.0


def layer_facts(
    spec: ProgramSpec,
    quantized: Quantized,
    recipe: Recipe,
    samples: Samples,
    on_wait: Callable[[], None] = lambda: None,
) -> tuple[LayerFacts, ...]:
    """One entry per layer that holds weights, in the order of `spec`; the engine must be set.

    A layer that is called several times is shown with all its calls. A batch norm that was folded into the layer before
    it shares that layer's method and has no figures of its own. Without `recipe.measure.layers`, there are no figures.

    Args:
        spec: Of the program.
        quantized: What became of it.
        recipe: Says what to measure, with how many threads, and how long.
        samples: What the layers are compared on.
        on_wait: Called if somebody else measures on this machine.
    """
    weighted = [layer for layer in spec.layers if layer.parameters]
    folded = quantized.folded | _folded_into(quantized.source, quantized.int8)
    own = {layer.name for layer in weighted if layer.name not in folded}
    measured = _measure(quantized, recipe, own, samples, on_wait) if recipe.measure.layers else _Measured()
    facts = [_facts(layer, folded.get(layer.name, layer.name), quantized, recipe, measured) for layer in weighted]
    return _ranked(facts)


@dataclass(frozen=True)
class _Measured:
    """Figures of layers, by name."""

    errors: dict[str, LayerErrors] = field(default_factory=dict)
    fp32_shares: dict[str, float] = field(default_factory=dict)
    int8_shares: dict[str, float] = field(default_factory=dict)


def _measure(
    quantized: Quantized, recipe: Recipe, own: set[str], samples: Samples, on_wait: Callable[[], None]
) -> _Measured:
    sources = quantized.rewritten.sources
    fp32, int8 = fuse(quantized.source, quantized.plan, recipe), quantized.int8
    called = {str(node.target) for node in int8.graph.nodes if node.op == "call_module"}
    names = {path: sources.get(path, path) for path in called if sources.get(path, path) in own}
    errors = layer_errors(fp32, int8, names, samples)
    inputs = samples.tiled(samples.fixed_batch or recipe.measure.batch_sizes[0])
    seconds = min(MOST_SECONDS_OF_TIMING, recipe.measure.seconds)
    with measuring_alone(on_wait), threads(threads_of(recipe.measure)):
        return _Measured(errors, *latency_shares((fp32, int8), names, inputs, seconds))


def _facts(layer: Layer, home: str, quantized: Quantized, recipe: Recipe, measured: _Measured) -> LayerFacts:
    int8 = dict(quantized.int8.named_modules(remove_duplicate=False)).get(home)
    executed = executed_method(int8) if int8 is not None else "float"
    planned = quantized.plan.layers.get(home)
    errors = measured.errors.get(layer.name, LayerErrors())
    return LayerFacts(
        name=layer.name,
        type=layer.type,
        method="qat" if executed == "static" and recipe.method == "qat" else executed,
        reason=(planned and planned.reason) or f"torch has no int8 kernel for {layer.type} here"
        if executed == "float"
        else None,
        parameters=layer.parameters,
        bits=planned.bits if planned and executed != "float" else None,
        weight_sqnr_db=_weight_sqnr(home, quantized) if home == layer.name and executed != "float" else None,
        activation_sqnr_db=errors.accumulated.sqnr_db,
        own_sqnr_db=errors.own and errors.own.sqnr_db,
        input_range=errors.inputs.range,
        output_range=errors.outputs.range,
        saturation=errors.saturation,
        latency_share_fp32=measured.fp32_shares.get(layer.name),
        latency_share_int8=measured.int8_shares.get(layer.name),
    )


def _ranked(facts: list[LayerFacts]) -> tuple[LayerFacts, ...]:
    """The same in the same order, each with its place among those that have an error of their own."""
    own = {place: layer.own_sqnr_db for place, layer in enumerate(facts) if layer.own_sqnr_db is not None}
    ranks = {place: rank for rank, place in enumerate(sorted(own, key=own.__getitem__), start=1)}
    return tuple(layer.model_copy(update={"rank": ranks.get(place)}) for place, layer in enumerate(facts))


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

"""Which method each layer gets: the recipe's rules, resolved against a model."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from torch import nn

from octet.quantization.exempt import READS_LOGITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.fx import GraphModule

    from octet.quantization.rewrite import Rewritten
    from octet.recipe import LayerMethod, LayerRule, Recipe

RECURRENT = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
"""Layers that torch has dynamic kernels for and no static ones."""

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
"""Layers that torch can only store in int8, with a scheme of their own: left in float."""

FunctionCall = tuple[Any, int | None]
"""A function and which of its calls, counted from 0; or the name of a tensor method and None: all its calls."""

Unit = str | FunctionCall
"""What can be left in float: a layer, by its path, or a call."""


@dataclass(frozen=True)
class LayerPlan:
    """What is to be done with one layer, and why where it stays in float."""

    module_type: type[nn.Module]
    method: LayerMethod
    reason: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be done with every layer of a model.

    Attributes:
        layers: By module path.
        float_functions: Function and method calls left in float.
        warnings: What in the recipe did not apply.
    """

    layers: dict[str, LayerPlan]
    float_functions: tuple[FunctionCall, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def int8_layers(self) -> tuple[str, ...]:
        """The layers that are to be quantized, in the order they are called."""
        return tuple(name for name, layer in self.layers.items() if layer.method != "float")

    def without(self, unit: Unit, reason: str) -> Plan:
        """This plan with `unit` left in float because of `reason`."""
        if isinstance(unit, str):
            layer = replace(self.layers[unit], method="float", reason=reason)
            return replace(self, layers={**self.layers, unit: layer})
        name = getattr(unit[0], "__name__", str(unit[0]))
        return replace(
            self,
            float_functions=(*self.float_functions, unit),
            warnings=(*self.warnings, f"A call of `{name}` was left in float: {reason}."),
        )

    def only(self, wanted: Sequence[Unit], calls: Sequence[FunctionCall]) -> Plan:
        """This plan with every layer, and every one of `calls`, left in float but those in `wanted`."""
        layers = {
            name: layer if name in wanted else replace(layer, method="float") for name, layer in self.layers.items()
        }
        others = tuple(call for call in calls if call not in wanted)
        return replace(self, layers=layers, float_functions=(*self.float_functions, *others))


def plan_layers(rewritten: Rewritten, recipe: Recipe) -> Plan:
    """Resolves the rules of `recipe` for every layer that is called; the first rule that matches decides.

    A further call of a layer goes by the name that its author gave the layer.
    """
    module, sources = rewritten.module, rewritten.sources
    paths = [str(node.target) for node in module.graph.nodes if node.op == "call_module"]
    layers = {path: _plan_layer(sources.get(path, path), module.get_submodule(path), recipe) for path in paths}
    called = {path: module.get_submodule(path) for path in paths if path not in sources}
    warnings = tuple(
        _unmatched(position, rule, called)
        for position, rule in enumerate(recipe.layers)
        if not any(_matches(rule, name, layer) for name, layer in called.items())
    )
    return Plan(layers, warnings=(*rewritten.warnings, *_about_softmax(module, recipe), *warnings))


def _about_softmax(module: GraphModule, recipe: Recipe) -> tuple[str, ...]:
    if recipe.method == "dynamic" or not any(node.target in READS_LOGITS for node in module.graph.nodes):
        return ()
    return ("Each softmax, with the arithmetic before it, was left in float: a mask would take up all of eight bits.",)


def _plan_layer(name: str, layer: nn.Module, recipe: Recipe) -> LayerPlan:
    rule = next((rule for rule in recipe.layers if _matches(rule, name, layer)), None)
    default: LayerMethod = "dynamic" if isinstance(layer, RECURRENT) else recipe.method
    method = rule.method if rule else default
    if method == "float":
        return LayerPlan(type(layer), "float", "the recipe says so")
    if not _has_kernel(method, layer):
        return LayerPlan(type(layer), "float", f"torch has no {method} int8 kernel for {type(layer).__name__}")
    return LayerPlan(type(layer), method)


def _has_kernel(method: LayerMethod, layer: nn.Module) -> bool:
    if method == "dynamic":
        return isinstance(layer, (nn.Linear, *RECURRENT))
    return not isinstance(layer, (*RECURRENT, *EMBEDDINGS))


def _matches(rule: LayerRule, name: str, layer: nn.Module) -> bool:
    return (rule.name is None or fnmatchcase(name, rule.name)) and rule.type in {None, type(layer).__name__}


def _unmatched(position: int, rule: LayerRule, layers: dict[str, nn.Module]) -> str:
    """A sentence about a rule that matches nothing, with the nearest names that do exist."""
    near = difflib.get_close_matches(rule.name or "", layers, n=3)
    near += difflib.get_close_matches(rule.type or "", {type(layer).__name__ for layer in layers.values()}, n=3)
    wanted = " ".join(f"{key} {value!r}" for key, value in (("name", rule.name), ("type", rule.type)) if value)
    hint = f" Near: {', '.join(near)}." if near else ""
    return f"The rule layers/{position} ({wanted}) matches no layer.{hint}"

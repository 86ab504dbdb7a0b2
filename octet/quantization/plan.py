"""Which method each layer gets: the recipe's rules and the table of kernels, resolved against a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from octet.kernels import KERNEL_BITS, LOOK_UPS, TAKE_FLOATS, LayerForm, kernel_of, usual_method, weight_bits, why_float
from octet.quantization.effects import without_effect
from octet.quantization.engine import reduces_range
from octet.quantization.exempt import READS_LOGITS
from octet.quantization.worth import BETWEEN, WEIGHTLESS, not_between
from octet.rules import rule_of, unmatched_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn
    from torch.fx import GraphModule

    from octet.errors import FieldError
    from octet.quantization.rewrite import Rewritten
    from octet.recipe import LayerMethod, Recipe

Unit = str
"""What can be left in float: a layer, by its path, or a call of a function or a tensor method, by `call_unit`."""

RULED_OUT = "the recipe says so"


def call_unit(name: str) -> Unit:
    """The unit that the call by the name `name` in a graph is; no layer has such a path."""
    return f"call:{name}"


@dataclass(frozen=True)
class LayerPlan:
    """What is to be done with one layer, and why where it stays in float.

    Attributes:
        module_type: What it is.
        method: What kind of kernel it is to have.
        reason: Why it has none.
        bits: Of its weights, in a kernel.
    """

    module_type: type[nn.Module]
    method: LayerMethod
    reason: str | None = None
    bits: int = KERNEL_BITS


@dataclass(frozen=True)
class Plan:
    """What is to be done with every layer of a model.

    Attributes:
        layers: By module path.
        calls: Each call of a function or method that may be quantized, with the function's name.
        float_calls: Those of them that are left in float, with the reason; empty where int8 would gain nothing.
        notes: What in the recipe did not apply, and what else the report should say.
        gave_up: Whether all is left in float, because nothing less helped.
    """

    layers: dict[Unit, LayerPlan]
    calls: dict[Unit, str] = field(default_factory=dict)
    float_calls: dict[Unit, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    gave_up: bool = False

    @property
    def int8_layers(self) -> tuple[Unit, ...]:
        """The layers that are to be quantized, in the order they are called."""
        return tuple(name for name, layer in self.layers.items() if layer.method != "float")

    @property
    def int8_units(self) -> tuple[Unit, ...]:
        """The layers and calls that are to be quantized."""
        return (*self.int8_layers, *(call for call in self.calls if call not in self.float_calls))

    @property
    def left_in_float(self) -> frozenset[Unit]:
        """The layers and calls that are not."""
        return frozenset((self.layers.keys() | self.calls.keys()) - set(self.int8_units))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the report should say of it."""
        counted = Counter((self.calls[call], reason) for call, reason in self.float_calls.items() if reason)
        said = tuple(
            f"{'A call' if count == 1 else f'{count} calls'} of `{name}` {'was' if count == 1 else 'were'} "
            f"left in float: {reason}."
            for (name, reason), count in counted.items()
        )
        return (*self.notes, *said)

    def without(self, reasons: Mapping[Unit, str]) -> Plan:
        """This plan with these units left in float, each because of its reason."""
        layers = {
            unit: replace(layer, method="float", reason=reasons[unit]) if unit in reasons else layer
            for unit, layer in self.layers.items()
        }
        calls = {unit: reason for unit, reason in reasons.items() if unit in self.calls}
        return replace(self, layers=layers, float_calls={**self.float_calls, **calls})

    def in_float(self, reason: str) -> Plan:
        """This plan with everything left in float because of `reason`."""
        layers = self.without(dict.fromkeys(self.int8_layers, reason)).layers
        left = replace(self, layers=layers, calls={}, float_calls={}, gave_up=True)
        return left.noting(f"Nothing was quantized, the whole model stayed in float: {reason}.")

    def noting(self, note: str) -> Plan:
        """This plan with one more thing for the report to say."""
        return replace(self, notes=(*self.notes, note))


def plan_layers(rewritten: Rewritten, recipe: Recipe, ranks: Mapping[str, int] | None = None) -> Plan:
    """Resolves the rules of `recipe` for every layer that is called; the first rule that matches decides.

    A further call of a layer goes by the name that its author gave the layer.

    Args:
        rewritten: The model.
        recipe: What to do.
        ranks: How many dimensions the input of each layer has, by path, as far as that is known.
    """
    module, sources = rewritten.module, rewritten.sources
    paths = [str(node.target) for node in module.graph.nodes if node.op == "call_module"]
    layers = {
        path: _plan_layer(sources.get(path, path), module.get_submodule(path), recipe, (ranks or {}).get(path))
        for path in paths
    }
    called = {path: module.get_submodule(path) for path in paths if path not in sources}
    called.update(rewritten.norms.gone)
    unmatched = unmatched_rules(recipe, {name: type(layer).__name__ for name, layer in called.items()})
    calls = {
        call_unit(node.name): getattr(node.target, "__name__", str(node.target))
        for node in module.graph.nodes
        if node.op in {"call_function", "call_method"}
    }
    notes = (
        *_about_softmax(module, recipe),
        *map(_sentence, unmatched),
        *without_effect(rewritten, called, layers, recipe),
    )
    plan = Plan(layers, calls, notes=(*rewritten.warnings, *notes))
    return plan if recipe.int8_method == "dynamic" else _only_worth_it(plan, rewritten, recipe)


def _only_worth_it(plan: Plan, rewritten: Rewritten, recipe: Recipe) -> Plan:
    """`plan` with what is not worth int8 in float, but for layers that a rule wants in int8."""

    def stays(path: str) -> bool:
        kind = plan.layers[path].module_type.__name__
        rule = rule_of(rewritten.sources.get(path, path), kind, recipe)
        asked = rule is not None and rule.method is not None
        return (
            plan.layers[path].method in {"static", "qat"}
            and (asked or kind not in WEIGHTLESS)
            and kind not in TAKE_FLOATS
        )

    left = not_between(rewritten.module, stays)
    layers = {str(node.target): BETWEEN for node in left if node.op == "call_module"}
    calls = {call_unit(node.name): "" for node in left if node.op != "call_module"}
    units = frozenset(plan.int8_units)
    return plan.without({unit: reason for unit, reason in (layers | calls).items() if unit in units})


def _sentence(error: FieldError) -> str:
    said = f"{error.message[0].upper()}{error.message[1:]}."
    return f"{said} {error.hint}" if error.hint else said


def _about_softmax(module: GraphModule, recipe: Recipe) -> tuple[str, ...]:
    kernels = recipe.method not in {"dynamic", "simulate"}
    if not kernels or not any(node.target in READS_LOGITS for node in module.graph.nodes):
        return ()
    return ("Each softmax, with the arithmetic before it, was left in float: a mask would take up all of eight bits.",)


def _plan_layer(name: str, layer: nn.Module, recipe: Recipe, rank: int | None) -> LayerPlan:
    kind = type(layer).__name__
    rule = rule_of(name, kind, recipe)
    method = (rule and rule.method) or usual_method(kind, recipe.int8_method)
    if method == "float":
        return LayerPlan(type(layer), "float", RULED_OUT)
    if method == "qat" and kind in TAKE_FLOATS:
        return LayerPlan(type(layer), "float", f"torch has no {kind} that is trained for int8: dynamic it has kernels")
    bits = (rule and kind in LOOK_UPS and rule.bits) or KERNEL_BITS
    asked = bool(rule and rule.method)
    form = LayerForm(kind, vars(layer), rank, bits)
    reason = why_float(form, kernel_of(method), recipe.engine, asked=asked)
    if kernel_of(method) == "static":
        bits = weight_bits(form, recipe.engine, reduced=reduces_range(recipe))
    return LayerPlan(type(layer), "float" if reason else method, reason, bits)

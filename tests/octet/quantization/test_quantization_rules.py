"""The recipe's rules: which layers are done otherwise, and what is said about rules that do nothing."""

from __future__ import annotations

from typing import Any

import pytest
from quantizing import methods_of, quantized, recipe_of, sqnr_of, trace
from tiny_models import inputs_of, make
from torch import nn

from octet.errors import InvalidRecipeError
from octet.quantization.plan import plan_layers
from octet.quantization.rewrite import rewrite
from octet.quantization.shapes import shapes_of
from octet.rules import check_rules
from octet.spec import Layer, ProgramSpec


def plan_of(family: str, method: str, *rules: dict[str, str]):  # noqa: ANN201 -- a Plan
    recipe = recipe_of(method, layers=rules)
    return plan_layers(rewrite(trace(make(family)), recipe, {}), recipe)


def test_a_rule_by_name_leaves_a_layer_in_float() -> None:
    recipe = recipe_of("static", layers=[{"name": "conv*", "method": "float"}])
    methods = methods_of(quantized(make("residual"), recipe, inputs_of("residual")))
    assert (methods["conv1"], methods["conv2"], methods["stem.0"]) == ("float", "float", "static")


def test_a_rule_by_type_changes_the_method() -> None:
    recipe = recipe_of("static", layers=[{"type": "Linear", "method": "dynamic"}])
    model, inputs = make("residual"), inputs_of("residual")
    result = quantized(model, recipe, inputs)
    assert methods_of(result)["fc"] == "dynamic"
    assert methods_of(result)["conv1"] == "static"
    assert sqnr_of(model, result, recipe, inputs) > 20


def test_a_dynamic_recipe_can_have_static_layers() -> None:
    recipe = recipe_of("dynamic", layers=[{"type": "Conv1d", "method": "static"}])
    model, inputs = make("conv-gru"), inputs_of("conv-gru")
    result = quantized(model, recipe, inputs)
    assert methods_of(result) | {"relu": ""} == {"conv": "static", "relu": "", "gru": "dynamic", "head": "dynamic"}
    assert sqnr_of(model, result, recipe, inputs) > 20


def test_the_first_rule_that_matches_decides() -> None:
    plan = plan_of("mlp", "static", {"name": "fc1", "method": "float"}, {"name": "fc*", "method": "dynamic"})
    assert (plan.layers["fc1"].method, plan.layers["fc2"].method) == ("float", "dynamic")


def test_name_and_type_together_must_both_match() -> None:
    plan = plan_of("mlp", "static", {"name": "fc*", "type": "Conv2d", "method": "float"})
    assert plan.layers["fc1"].method == "static"
    assert plan.warnings


def test_recurrent_layers_are_dynamic_unless_a_rule_says_float() -> None:
    assert plan_of("lstm", "qat").layers["lstm"].method == "dynamic"
    left = plan_of("lstm", "qat", {"type": "LSTM", "method": "float"}).layers["lstm"]
    assert (left.method, left.reason) == ("float", "the recipe says so")


def test_a_method_without_a_kernel_is_float_and_says_why() -> None:
    layer = plan_of("residual", "dynamic").layers["conv1"]
    assert (layer.method, layer.reason) == ("float", "torch has no dynamic int8 kernel for Conv2d")


def test_a_rule_that_matches_nothing_is_named_with_what_is_near() -> None:
    (warning,) = plan_of("residual", "static", {"name": "convv1", "method": "float"}).warnings
    assert "layers/0" in warning
    assert "conv1" in warning
    (warning,) = plan_of("mlp", "static", {"type": "Liner", "method": "float"}).warnings
    assert "Linear" in warning


SPEC = ProgramSpec(
    inputs=(),
    outputs=(),
    layers=(Layer(name="conv1", type="Conv2d", parameters=1), Layer(name="relu", type="ReLU", parameters=0)),
    parameters=1,
    torch_version="2.13",
)


def test_a_rule_that_matches_nothing_is_an_error_in_a_strict_recipe() -> None:
    rules = [{"type": "ReLU", "method": "float"}, {"name": "convv1", "method": "float"}]
    with pytest.raises(InvalidRecipeError, match="layers/1") as caught:
        check_rules(recipe_of("static", strict=True, layers=rules), SPEC)
    (error,) = caught.value.errors
    assert (error.pointer, error.hint) == ("/layers/1", "Near: conv1.")
    check_rules(recipe_of("static", layers=rules), SPEC)
    check_rules(recipe_of("static", strict=True, layers=rules[:1]), SPEC)


def test_bits_that_a_layer_has_no_kernel_for_are_said_to_be_eight() -> None:
    (warning,) = plan_of("mlp", "static", {"name": "fc*", "bits": 4}).warnings
    assert warning == "Only embeddings have 4-bit kernels: 8 bits are taken for fc1, fc2."
    assert plan_of("mlp", "static", {"type": "Linear", "bits": 8}).warnings == ()
    assert plan_of("lstm", "static", {"type": "Embedding", "bits": 4}).warnings == ()


ODD_RANGES = {"observer": "mse", "power_of_two": True}


@pytest.mark.parametrize(
    ("method", "rules", "activations", "said"),
    [
        ("dynamic", [], ODD_RANGES, True),
        ("dynamic", [], {}, False),
        ("dynamic", [{"name": "fc1", "method": "static"}], ODD_RANGES, False),
        ("static", [], ODD_RANGES, False),
    ],
)
def test_ranges_that_no_layer_takes_from_the_recipe_are_named(
    method: str, rules: list[dict[str, str]], activations: dict[str, Any], said: bool
) -> None:
    recipe = recipe_of(method, layers=rules, activations=activations)
    notes = plan_layers(rewrite(trace(make("mlp")), recipe, {}), recipe).notes
    assert any("activations/observer, activations/power_of_two had no effect" in note for note in notes) is said


@pytest.mark.parametrize(("repairs", "said"), [({"equalize": True}, True), ({}, False)])
def test_statistics_that_repairs_leave_nothing_of_are_named(repairs: dict[str, bool], said: bool) -> None:
    recipe = recipe_of("qat", repairs=repairs, training={"freeze_batch_norm": 0.5})
    module = trace(make("residual"))
    rewritten = rewrite(module, recipe, shapes_of(module, (inputs_of("residual"),)))
    assert any("freeze_batch_norm had no effect" in note for note in plan_layers(rewritten, recipe).notes) is said


@pytest.mark.parametrize(
    ("method", "granularity", "said"),
    [("static", "per_channel", True), ("static", "per_tensor", False), ("simulate", "per_channel", False)],
)
def test_transposed_convolutions_that_get_one_scale_are_named(method: str, granularity: str, said: bool) -> None:
    module = trace(nn.Sequential(nn.Conv2d(2, 2, 3), nn.ConvTranspose2d(2, 2, 3)).eval())
    recipe = recipe_of(method, weights={"granularity": granularity})
    notes = plan_layers(rewrite(module, recipe, {}), recipe).notes
    assert any("weights/granularity had no effect on 1." in note for note in notes) is said


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ({"measure": {"batch_sizes": [1, 8], "seconds": 1.0}}, "measure/batch_sizes, measure/seconds had no effect"),
        ({"activations": {"bits": 6, "reduce_range": True}}, "activations/reduce_range had no effect"),
        ({"activations": {"bits": 8, "reduce_range": True}}, None),
        ({"measure": {"sensitivity": True}}, None),
    ],
)
def test_what_a_simulation_does_not_do_is_named(keys: dict[str, Any], note: str | None) -> None:
    recipe = recipe_of("simulate", **keys)
    said = [said for said in plan_layers(rewrite(trace(make("mlp")), recipe, {}), recipe).notes if "effect" in said]
    assert said == [] if note is None else note in said[0]

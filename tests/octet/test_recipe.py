from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from octet.errors import InvalidRecipeError
from octet.recipe import PRESETS, Recipe
from octet.rules import unmatched_rules

if TYPE_CHECKING:
    from pathlib import Path


def test_every_key_has_a_default() -> None:
    recipe = Recipe.parse({})
    assert (recipe.octet, recipe.method, recipe.engine) == (1, "static", "x86")


def test_yaml_and_json_files_give_the_same_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("method: qat\nlayers:\n  - {name: 'head.*', method: float}\n")
    (tmp_path / "r.json").write_text('{"method": "qat", "layers": [{"name": "head.*", "method": "float"}]}')
    assert Recipe.load(tmp_path / "r.yaml") == Recipe.load(tmp_path / "r.json")


def test_the_canonical_form_is_one_text_whatever_was_left_out() -> None:
    assert Recipe.parse({}).canonical() == Recipe.parse({"engine": "x86", "method": "static"}).canonical()
    assert Recipe.parse(json.loads(Recipe.parse({"method": "qat"}).canonical())) == Recipe(method="qat")


@pytest.mark.parametrize(
    ("document", "pointer", "hint"),
    [
        ({"metod": "static"}, "/metod", "Did you mean 'method'?"),
        ({"weights": {"granulrity": "per_tensor"}}, "/weights/granulrity", "Did you mean 'granularity'?"),
        ({"layers": [{"name": "a", "methd": "float", "method": "float"}]}, "/layers/0/methd", "Did you mean 'method'?"),
        ({"gates": {"zzz": 1}}, "/gates/zzz", "Known keys: max_accuracy_drop, min_sqnr_db, min_speedup."),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_the_nearest_known_one(
    document: dict[str, Any], pointer: str, hint: str
) -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        Recipe.parse(document)
    (error,) = caught.value.errors
    assert (error.pointer, error.hint) == (pointer, hint)


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        ({"engine": "tensorrt"}, "/engine", "'tensorrt' is not known"),
        ({"octet": 2}, "/octet", "should be 1"),
        ({"measure": {"batch_sizes": [0]}}, "/measure", "batch sizes go from 1 to 4096"),
        ({"measure": {"batch_sizes": [100000000]}}, "/measure", "batch sizes go from 1 to 4096"),
        ({"measure": {"threads": 9999}}, "/measure", "threads go from 1 to 256"),
        ({"layers": [{"method": "float"}]}, "/layers/0", "needs a `name`, a `type`, or both"),
        ({"layers": [{"name": "\ud800", "method": "float"}]}, "/layers/0/name", "unicode"),
        ({"layers": [{"name": "a", "method": "float"}] * 4097}, "/layers", "at most 4096 items"),
        (
            {"method": "qat", "layers": [{"name": "a", "method": "static"}]},
            "/layers/0/method",
            "cannot be mixed into a qat recipe",
        ),
        (
            {"engine": "onednn", "weights": {"scheme": "affine"}},
            "/weights/scheme",
            "onednn takes symmetric weights only",
        ),
        ({"training": {"learning_rate": 0}}, "/training/learning_rate", "greater than 0"),
        ({"training": {"clip_gradient": float("inf")}}, "/training/clip_gradient", "finite number"),
        ({"gates": {"min_sqnr_db": float("nan")}}, "/gates/min_sqnr_db", "finite number"),
        ({"training": {"loss": "hinge"}}, "/training/loss", "'hinge' is not known"),
        ({"training": {"loss": {"distillation": 0}}}, "/training/loss/distillation", "greater than 0"),
        ({"training": {"loss": {"hinge": 1}}}, "/training/loss/hinge", "'hinge' is not known"),
        (
            {"measure": {"threads": "all"}},
            "/measure/threads",
            "valid integer, unable to parse string as an integer; or",
        ),
        ({"training": {"loss": {}}}, "/training", "a mixture needs at least one loss"),
        ({"training": {"loss": {"cross_entropy": 1, "mse": 1}}}, "/training/loss", "data has one of them"),
        ({"weights": {"bits": 4}}, "/weights/bits", "kernels take 8 only; anything else is for method simulate"),
        ({"activations": {"bits": None}}, "/activations/bits", "kernels take 8 only"),
        ({"weights": {"bits": 17}}, "/weights/bits", "less than or equal to 16"),
        ({"weights": {"levels": "codebook"}}, "/weights/levels", "kernels take uniform only"),
        (
            {"activations": {"granularity": "per_channel", "observer": "mse"}},
            "/activations/granularity",
            "kernels take per_tensor only",
        ),
        ({"weights": {"observer": "histogram"}}, "/weights/observer", "histogram takes a tensor as a whole"),
        (
            {"method": "simulate", "weights": {"bits": None}, "activations": {"bits": None}},
            "/weights/bits",
            "nothing to simulate",
        ),
        (
            {"layers": [{"type": "Linear", "bits": 3}]},
            "/layers/0/bits",
            "kernels take 8 bits, and 4 for embeddings, not 3",
        ),
        ({"layers": [{"type": "Linear", "bits": 4}]}, "/layers/0/bits", "no kernel takes 4-bit weights of Linear"),
        (
            {"layers": [{"type": "Embedding", "bits": 4, "method": "float"}]},
            "/layers/0/bits",
            "bits are for layers that do not stay",
        ),
        ({"layers": [{"type": "Embedding"}]}, "/layers/0", "needs a `method`, `bits`, or both"),
        (
            {"method": "simulate", "layers": [{"name": "a", "method": "dynamic"}]},
            "/layers/0/method",
            "cannot be mixed into a simulate",
        ),
        ({"engine": "qnnpack", "deploy_cpu": "vnni"}, "/deploy_cpu", "qnnpack is an engine for ARM CPUs, not for vnni"),
        ({"engine": "fbgemm", "deploy_cpu": "arm"}, "/deploy_cpu", "fbgemm is an engine for x86 CPUs"),
        ({"method": "auto", "gates": {"max_accuracy_drop": None}}, "/gates", "auto needs a budget"),
        ([], "", "should be a valid dictionary"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(document: Any, pointer: str, words: str) -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        Recipe.parse(document)
    assert [error.pointer for error in caught.value.errors] == [pointer]
    assert words in caught.value.errors[0].message


def test_all_that_does_not_go_together_is_named_at_once() -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        Recipe.parse({"weights": {"bits": 4}, "engine": "qnnpack", "deploy_cpu": "vnni"})
    assert [error.pointer for error in caught.value.errors] == ["/weights/bits", "/deploy_cpu"]


def test_of_many_rules_for_no_layer_only_the_first_are_told_what_is_near() -> None:
    recipe = Recipe.parse({"layers": [{"name": f"head.{number}", "method": "float"} for number in range(20)]})
    found = unmatched_rules(recipe, {"head.x": "Linear"})
    assert [each.pointer for each in found] == [f"/layers/{number}" for number in range(20)]
    assert [each.hint for each in found] == ["Near: head.x."] * 10 + [None] * 10


def test_a_rule_with_bits_is_enough_to_simulate() -> None:
    untouched = {"bits": None}
    rule = {"type": "Linear", "bits": 3}
    recipe = Recipe.parse({"method": "simulate", "weights": untouched, "activations": untouched, "layers": [rule]})
    assert recipe.layers[0].bits == 3
    assert not recipe.needs_calibration


def test_a_file_that_is_no_recipe_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipeError, match=r"cannot be read"):
        Recipe.load(tmp_path / "missing.yaml")
    (tmp_path / "bad.yaml").write_text("method: [static")
    with pytest.raises(InvalidRecipeError, match=r"neither YAML nor JSON"):
        Recipe.load(tmp_path / "bad.yaml")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_found_by_its_name(name: str) -> None:
    assert Recipe.preset(name) == PRESETS[name].recipe


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        Recipe.preset("int4")
    assert "static-vnni" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("document", "needed"),
    [
        ({"method": "dynamic"}, False),
        ({"method": "static"}, True),
        ({"method": "qat"}, True),
        ({"method": "dynamic", "layers": [{"type": "Conv2d", "method": "static"}]}, True),
        ({"method": "dynamic", "repairs": {"correct_bias": True}}, True),
        ({"method": "auto"}, True),
        ({"method": "simulate"}, True),
        ({"method": "simulate", "activations": {"bits": None}}, False),
    ],
)
def test_calibration_is_needed_where_any_layer_is_static(document: dict[str, Any], needed: bool) -> None:
    assert Recipe.parse(document).needs_calibration is needed


def test_what_kernels_cannot_do_can_be_simulated() -> None:
    recipe = Recipe.parse(
        {
            "method": "simulate",
            "engine": "onednn",
            "weights": {"bits": 2, "levels": "codebook", "scheme": "affine"},
            "activations": {"bits": 16, "granularity": "per_channel", "observer": "mse"},
            "layers": [{"name": "head", "bits": 3}, {"name": "stem", "method": "float"}],
        }
    )
    assert (recipe.weights.bits, recipe.activations.bits) == (2, 16)


def test_a_loss_and_a_mixture_of_losses_read_alike() -> None:
    assert Recipe.parse({"training": {"loss": "mse"}}).training.losses == {"mse": 1.0}
    mixture = {"distillation": 1.0, "cross_entropy": 0.25}
    assert Recipe.parse({"training": {"loss": mixture}}).training.losses == mixture


def test_a_time_limit_that_is_not_used_is_not_in_the_json() -> None:
    assert "timeout_seconds" not in Recipe().model_dump(mode="json")
    assert "timeout_seconds" not in Recipe().canonical()
    limited = Recipe.parse({"timeout_seconds": 90})
    assert Recipe.parse(json.loads(limited.canonical())) == limited


@pytest.mark.parametrize("seconds", [0, -1, 8 * 24 * 3600, float("nan"), float("inf"), "soon"])
def test_a_time_limit_is_a_time_of_up_to_a_week(seconds: Any) -> None:
    with pytest.raises(InvalidRecipeError) as refused:
        Recipe.parse({"timeout_seconds": seconds})
    assert refused.value.errors[0].pointer == "/timeout_seconds"

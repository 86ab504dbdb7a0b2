"""What in a recipe does not go together: one row for each rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.engines import ENGINES
from octet.kernels import KERNEL_BITS, LOOK_UPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octet.recipe.recipe import Recipe
    from octet.recipe.sections import LayerMethod, LayerRule, Method

EMBEDDING_BITS = (4, KERNEL_BITS)

MIXED: dict[Method, tuple[LayerMethod, ...]] = {
    "dynamic": ("float", "dynamic", "static"),
    "static": ("float", "dynamic", "static"),
    "qat": ("float", "dynamic", "qat"),
    "auto": ("float", "dynamic", "static"),
    "simulate": ("float",),
}
"""Methods that rules may mix into a recipe of a method."""


Place = tuple[str | int, ...]
"""Keys and positions, from the recipe inwards."""


def conflicts(recipe: Recipe) -> Iterator[tuple[Place, str]]:
    """The place of each thing in `recipe` that does not go with another, and a sentence about it."""
    for position, rule in enumerate(recipe.layers):
        for key, message in _rule_conflicts(rule, recipe):
            yield ("layers", position, key), message
    for place, message, applies in _CONFLICTS:
        if applies(recipe):
            yield place, message.format(method=recipe.method, engine=recipe.engine, cpu=recipe.deploy_cpu)


def _rule_conflicts(rule: LayerRule, recipe: Recipe) -> Iterator[tuple[str, str]]:
    if rule.method is not None and rule.method not in MIXED[recipe.method]:
        yield "method", f"{rule.method!r} cannot be mixed into a {recipe.method} recipe"
    if rule.bits is not None and recipe.method != "simulate" and rule.bits not in EMBEDDING_BITS:
        yield (
            "bits",
            f"kernels take 8 bits, and 4 for embeddings, not {rule.bits}; method simulate shows what they cost",
        )
    if rule.bits == EMBEDDING_BITS[0] and recipe.method != "simulate" and rule.type not in {*LOOK_UPS, None}:
        yield "bits", f"no kernel takes 4-bit weights of {rule.type}, only of embeddings"
    if rule.bits is not None and rule.method == "float":
        yield "bits", "bits are for layers that do not stay in float"


def _simulates_only(section: str, key: str, expected: object) -> tuple[Place, str, Callable[[Recipe], bool]]:
    """A row for a key that has one value outside simulation."""

    def applies(recipe: Recipe) -> bool:
        return recipe.method != "simulate" and getattr(getattr(recipe, section), key) != expected

    return (section, key), f"kernels take {expected} only; anything else is for method simulate", applies


_CONFLICTS: tuple[tuple[Place, str, Callable[[Recipe], bool]], ...] = (
    _simulates_only("weights", "bits", KERNEL_BITS),
    _simulates_only("activations", "bits", KERNEL_BITS),
    _simulates_only("weights", "levels", "uniform"),
    _simulates_only("activations", "levels", "uniform"),
    _simulates_only("activations", "granularity", "per_tensor"),
    (
        ("weights", "scheme"),
        "{engine} takes symmetric weights only",
        lambda recipe: (
            recipe.method != "simulate"
            and recipe.weights.scheme == "affine"
            and not ENGINES[recipe.engine].affine_weights
        ),
    ),
    (
        ("weights", "observer"),
        "histogram takes a tensor as a whole; minmax, percentile, mse and entropy take channels",
        lambda recipe: recipe.weights.observer == "histogram" and recipe.weights.granularity == "per_channel",
    ),
    (
        ("activations", "observer"),
        "histogram takes a tensor as a whole; minmax, percentile, mse and entropy take channels",
        lambda recipe: recipe.activations.observer == "histogram" and recipe.activations.granularity == "per_channel",
    ),
    (
        ("weights", "bits"),
        "there is nothing to simulate: weights and activations all stay as they are",
        lambda recipe: (
            recipe.weights.bits is None
            and recipe.activations.bits is None
            and not any(rule.bits for rule in recipe.layers)
        ),
    ),
    (
        ("training", "loss"),
        "cross_entropy wants labels and mse wants values: data has one of them",
        lambda recipe: {"cross_entropy", "mse"} <= recipe.training.losses.keys(),
    ),
    (
        ("deploy_cpu",),
        "qnnpack is an engine for ARM CPUs, not for {cpu}",
        lambda recipe: recipe.engine == "qnnpack" and recipe.deploy_cpu in {"avx2", "avx512", "vnni", "amx"},
    ),
    (
        ("deploy_cpu",),
        "{engine} is an engine for x86 CPUs",
        lambda recipe: recipe.engine != "qnnpack" and recipe.deploy_cpu == "arm",
    ),
    (
        ("gates",),
        "auto needs a budget: max_accuracy_drop, min_sqnr_db, or both",
        lambda recipe: (
            recipe.method == "auto" and recipe.gates.max_accuracy_drop is None and recipe.gates.min_sqnr_db is None
        ),
    ),
)

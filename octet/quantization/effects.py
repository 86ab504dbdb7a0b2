"""Keys of a recipe that do nothing to a model, named for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.kernels import KERNEL_BITS, LOOK_UPS
from octet.recipe import Recipe
from octet.rules import rule_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import nn

    from octet.quantization.plan import LayerPlan, Unit
    from octet.quantization.rewrite import Rewritten
    from octet.recipe.sections import Section

MOST_NAMED = 3


def without_effect(
    rewritten: Rewritten, called: Mapping[str, nn.Module], layers: Mapping[Unit, LayerPlan], recipe: Recipe
) -> tuple[str, ...]:
    """A sentence for each reason why keys of `recipe` do nothing to a model, or to some of its layers.

    Args:
        rewritten: The model.
        called: Its layers by the names that their author gave them.
        layers: What is to be done with each.
        recipe: What was asked for.
    """
    said = (
        _about_bits(called, recipe),
        _about_scales(rewritten, layers, recipe),
        _about_ranges(layers, recipe),
        _about_reduced_range(recipe),
        _about_statistics(rewritten, recipe),
        _about_timing(recipe),
    )
    return tuple(filter(None, said))


def _about_bits(called: Mapping[str, nn.Module], recipe: Recipe) -> str | None:
    """Rules may ask for bits that no kernel of a layer takes."""
    named = [
        name
        for name, layer in called.items()
        if (rule := rule_of(name, type(layer).__name__, recipe))
        and rule.bits not in {None, KERNEL_BITS}
        and type(layer).__name__ not in LOOK_UPS
    ]
    if not named or recipe.method == "simulate":
        return None
    return f"Only embeddings have 4-bit kernels: 8 bits are taken for {_some_of(named)}."


def _about_scales(rewritten: Rewritten, layers: Mapping[Unit, LayerPlan], recipe: Recipe) -> str | None:
    """Kernels of transposed convolutions know no channels."""
    named = dict.fromkeys(
        rewritten.sources.get(path, path)
        for path, layer in layers.items()
        if layer.method != "float" and layer.module_type.__name__.startswith("ConvTranspose")
    )
    if not named or recipe.method == "simulate" or recipe.weights.granularity == "per_tensor":
        return None
    return (
        "Kernels of transposed convolutions take one scale for a whole weight: weights/granularity had no effect on "
        f"{_some_of(named)}."
    )


def _about_ranges(layers: Mapping[Unit, LayerPlan], recipe: Recipe) -> str | None:
    """Dynamic layers look at what they are given, and at nothing else."""
    keys = _asked("activations", recipe, "scheme", "observer", "power_of_two")
    if not keys or recipe.method != "dynamic" or any(layer.method == "static" for layer in layers.values()):
        return None
    return f"Dynamic layers find the range of what they take at every call: {keys} had no effect."


def _about_reduced_range(recipe: Recipe) -> str | None:
    """It is a remedy for a fault of 8-bit kernels."""
    bits = recipe.activations.bits
    if recipe.method != "simulate" or recipe.activations.reduce_range is not True or bits == KERNEL_BITS:
        return None
    return "Only 8-bit activations can do with one bit less, and these are not: activations/reduce_range had no effect."


def _about_statistics(rewritten: Rewritten, recipe: Recipe) -> str | None:
    """Batch norms that repairs made weights have no statistics to change in training."""
    wanted = recipe.method == "qat" and recipe.training.freeze_batch_norm > 0
    if not wanted or not recipe.repairs.any or not rewritten.norms.gone:
        return None
    return "Repairs made batch norms part of layers before training: training/freeze_batch_norm had no effect on them."


def _about_timing(recipe: Recipe) -> str | None:
    """What computes in float is no faster."""
    keys = _asked("measure", recipe, "batch_sizes", "threads", "seconds")
    return f"A simulation is not timed: {keys} had no effect." if keys and recipe.method == "simulate" else None


def _asked(section: str, recipe: Recipe, *keys: str) -> str:
    """Those of the `keys` that are not at their default, as paths."""
    asked: Section = getattr(recipe, section)
    usual: Section = getattr(Recipe(), section)
    return ", ".join(f"{section}/{key}" for key in keys if getattr(asked, key) != getattr(usual, key))


def _some_of(names: Iterable[str]) -> str:
    every = list(names)
    others = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return ", ".join(every[:MOST_NAMED]) + others

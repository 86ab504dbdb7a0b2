"""The recipe: what to do to a model. YAML or JSON, versioned, and free of torch.

Every key has a default; an unknown key is an error that names the nearest known one.
"""

from octet.recipe.presets import PRESETS, Preset
from octet.recipe.recipe import Recipe
from octet.recipe.sections import (
    Activations,
    Auto,
    Calibration,
    Gates,
    Int8Method,
    LayerMethod,
    LayerRule,
    LossName,
    Measure,
    Method,
    ObserverName,
    Repairs,
    Training,
    Weights,
)

__all__ = [
    "PRESETS",
    "Activations",
    "Auto",
    "Calibration",
    "Gates",
    "Int8Method",
    "LayerMethod",
    "LayerRule",
    "LossName",
    "Measure",
    "Method",
    "ObserverName",
    "Preset",
    "Recipe",
    "Repairs",
    "Training",
    "Weights",
]

"""How `method: auto` found its model."""

from __future__ import annotations

from pydantic import Field

from octet.recipe import Recipe
from octet.report.part import Part


class Trial(Part):
    """A model that was made and measured on the way."""

    number: int = Field(description="From 1, in the order they were tried.")
    what: str = Field(description="What was tried, in a few words.")
    recipe: Recipe = Field(description="The recipe that makes this model.")
    float_layers: int = Field(description="How many layers were left in float for accuracy's sake.")
    accuracy: float | None = Field(description="Or mean squared error, on the evaluation data; null: no targets.")
    accuracy_drop: float | None = Field(description="How much worse than fp32: positive is a loss; null: no targets.")
    sqnr_db: float | None = Field(description="SQNR of the first output against fp32; null: no error.")
    latency_ms: float = Field(description="Median per batch of the recipe's first batch size.")
    speedup: float = Field(description="Median of the ratios fp32 / int8, timed in turn.")
    within_budget: bool
    pareto: bool = Field(False, description="Whether no other trial is both faster and more accurate.")
    chosen: bool = Field(False, description="Whether this is the model that was kept.")
    seconds: float = Field(description="Time that making and measuring it took.")


class Search(Part):
    """All that was tried, and what came of it."""

    trials: tuple[Trial, ...]
    layers: int = Field(description="Layers that could be left in float: what a linear search would try one by one.")
    ranking_passes: int = Field(description="Simulated runs over calibration samples that the ranking took; 0: none.")
    met: bool = Field(description="Whether the model that was kept is inside the budget.")
    stopped_by: str = Field(description="Why no further model was tried.")

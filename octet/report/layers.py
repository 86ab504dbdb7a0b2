"""What was done to the layers of a model, and what each costs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from octet.report.part import Part


class LayerFacts(Part):
    """One layer of the source model, under the path its author gave it."""

    name: str
    type: str
    method: Literal["static", "dynamic", "qat", "float", "simulated"]
    reason: str | None = Field(None, description="Why it stayed in float, where it did.")
    parameters: int = 0
    bits: int | None = Field(None, description="Bits of its weights; null: float.")
    weight_sqnr_db: float | None = Field(None, description="The int8 weight against the fp32 weight.")
    activation_sqnr_db: float | None = Field(
        None, description="The layer's output inside the int8 model against fp32: its own error and what came before."
    )
    own_sqnr_db: float | None = Field(
        None, description="The layer's output against fp32 where both are given the fp32 input: its own error alone."
    )
    input_range: tuple[float, float] | None = Field(None, description="Least and largest value that it was given.")
    output_range: tuple[float, float] | None = Field(None, description="Least and largest value that fp32 gave.")
    saturation: float | None = Field(
        None, description="Share of its output that lies beyond the range of its eight bits, and so was clipped."
    )
    latency_share_fp32: float | None = Field(None, description="Share of the fp32 model's time, eager.")
    latency_share_int8: float | None = Field(None, description="Share of the int8 model's time, eager.")
    rank: int | None = Field(None, description="1: the layer with the lowest SQNR of its own.")


class Fusion(Part):
    """Layers and calls that became one kernel."""

    name: str = Field(description="Path of the layer that the others are part of.")
    kind: str = Field(description="What was fused, in order: `Conv2d + BatchNorm2d + ReLU`.")
    parts: tuple[str, ...] = Field(description="Paths of the layers, and names of the calls, in the same order.")


class LoneNorm(Part):
    """A batch norm that could not become part of the layer before it."""

    name: str
    type: str
    reason: str


class Repair(Part):
    """What one of the recipe's repairs did to the float model."""

    repair: Literal["equalize", "correct_bias", "clip_weights"]
    layers: tuple[str, ...] = Field(description="Layers that it changed, in the order they are called.")
    summary: str = Field(description="What that did, in a sentence with its figures.")


class SimulatedTensor(Part):
    """A tensor whose rounding was simulated."""

    layer: str = Field(description="Path of the layer that it is a weight or the input of.")
    kind: Literal["weight", "activation"]
    bits: int
    relative_error: float = Field(description="||X - Xq|| / ||X||, over all values of it that were seen.")


class LayerSensitivity(Part):
    """What the model loses if this layer alone is quantized."""

    name: str
    sqnr_db: float | None = Field(description="SQNR of the model's first output; null: no error.")
    score: float | None = Field(None, description="Accuracy, or mean squared error, of the model; null: no targets.")


class CurvePoint(Part):
    """What the model gives with so many of its most sensitive layers left in float, and all others quantized."""

    float_layers: int
    sqnr_db: float | None
    score: float | None = None


class Sensitivity(Part):
    """Which layers a model can least afford to have quantized. Kernels are simulated, for the many models it takes."""

    layers: tuple[LayerSensitivity, ...] = Field(description="The most sensitive first.")
    curve: tuple[CurvePoint, ...] = Field(description="By ever more layers left in float.")
    samples: int = Field(description="How many samples of the evaluation data each was run on.")
    passes: int = Field(description="Runs of them: two in fp32, one for each layer, one for each point but the last.")

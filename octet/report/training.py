"""How a quantization-aware training went."""

from __future__ import annotations

from pydantic import Field

from octet.report.part import Part


class Epoch(Part):
    """One epoch of quantization-aware training."""

    number: int = Field(description="From 1; 0 is the calibrated model before any training.")
    loss: float | None = Field(description="Mean over the samples it was trained on; null for epoch 0.")
    learning_rate: float | None = Field(None, description="At its end; null for epoch 0.")
    validation_loss: float | None = Field(None, description="Mean over the samples held back; null: none were.")
    validation_score: float | None = Field(None, description="Accuracy on them, where they have labels.")
    chosen: bool = Field(False, description="Whether the int8 model was made of the weights after this epoch.")

"""What a job was about: the model, the engine, the machine, the data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from octet.report.part import Part


class ModelFacts(Part):
    """The model that was quantized."""

    sha256: str
    parameters: int
    torch_version: str = Field(description="The torch that exported it.")


class EngineFacts(Part):
    """How the engine was set, and what the deploy CPU must have."""

    name: str
    reduce_range: bool = Field(description="Whether activations use 7 bits.")
    cpu_flags: tuple[str, ...] = Field(description="CPU features the int8 kernels need; `a|b`: either.")
    native: bool = Field(description="Whether the engine is made for the CPU it was measured on.")


class MachineFacts(Part):
    """Where the figures were taken."""

    cpu: str
    architecture: str
    cores: int
    torch_version: str


class DataFacts(Part):
    """The data that ranges or figures come from."""

    source: Literal["dataset", "synthetic"]
    samples: int

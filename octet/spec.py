"""What a model takes, gives and is made of: the part of a program that needs neither its weights nor torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True)


class TensorSpec(_Spec):
    """One input or output."""

    name: str
    dtype: str = Field(description="numpy's name for it, for example `float32` or `int64`.")
    shape: tuple[int | str, ...] = Field(description="A string is the name of a size that may vary, such as the batch.")


class Layer(_Spec):
    """One module of the source model that Octet rebuilt, under the path its author gave it."""

    name: str = Field(description="Module path, for example `layer1.0.conv1`.")
    type: str = Field(description="Module type, for example `Conv2d`.")
    parameters: int = Field(description="Number of weights and biases.")


class ProgramSpec(_Spec):
    """A model, described."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    parameters: int = Field(description="Number of distinct weights and biases.")
    torch_version: str = Field(description="The torch that exported it.")


class ArraySpec(_Spec):
    """One array of a dataset."""

    dtype: str
    shape: tuple[int, ...]
    minimum: float | None = Field(None, description="Of the finite values; null for an empty array.")
    maximum: float | None = None


class DatasetSpec(_Spec):
    """A dataset, described."""

    samples: int = Field(description="First dimension of every array.")
    arrays: dict[str, ArraySpec]

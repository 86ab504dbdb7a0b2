"""What a model takes, gives and is made of: the part of a program that needs neither its weights nor torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from octet.engines import EngineName
from octet.recipe import Int8Method, LayerMethod


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True)


class TensorSpec(_Spec):
    """One input or output."""

    name: str
    dtype: str = Field(description="numpy's name for it, for example `float32` or `int64`.")
    shape: tuple[int | str, ...] = Field(description="A string is the name of a size that may vary, such as the batch.")


class Outlook(_Spec):
    """What becomes of a layer under a method, before any rule of a recipe."""

    method: Int8Method
    engines: tuple[EngineName, ...] = Field(description="The engines of which this is true.")
    runs: LayerMethod = Field(
        description="The kind of kernel; recurrent layers and embeddings are dynamic under every method."
    )
    reason: str | None = Field(None, description="Why it stays in float, where it does.")


class Layer(_Spec):
    """One module of the source model that Octet rebuilt, under the path its author gave it."""

    name: str = Field(description="Module path, for example `layer1.0.conv1`.")
    type: str = Field(description="Module type, for example `Conv2d`.")
    parameters: int = Field(description="Number of weights and biases.")
    outlook: tuple[Outlook, ...] = Field((), description="What will become of it, by method and engine.")

    def under(self, method: Int8Method, engine: EngineName) -> Outlook | None:
        """What becomes of it under this method with this engine; None where the spec is of an older Octet."""
        return next((each for each in self.outlook if each.method == method and engine in each.engines), None)


class ProgramSpec(_Spec):
    """A model, described."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    parameters: int = Field(description="Number of distinct weights and biases.")
    torch_version: str = Field(description="The torch that exported it.")
    notes: tuple[str, ...] = Field((), description="What became of the model as it was read, in sentences.")


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

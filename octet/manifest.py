"""The manifest: what an artifact holds and what it needs to run. Free of torch."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from octet.recipe import Recipe
from octet.spec import TensorSpec

if TYPE_CHECKING:
    from pathlib import Path


class FileFacts(BaseModel):
    """One file of the artifact."""

    model_config = ConfigDict(extra="forbid")

    sha256: str
    size: int = Field(description="In bytes.")


class Manifest(BaseModel):
    """`manifest.json`: TorchScript does not record the engine it was made for, so this does."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = Field(1, description="Version of the artifact's layout.")
    octet_version: str
    torch_version: str
    engine: str = Field(description="What `torch.backends.quantized.engine` must be before the model is loaded.")
    reduce_range: bool = Field(description="Whether activations use 7 bits.")
    cpu_flags: tuple[str, ...] = Field(description="CPU features the int8 kernels need; `a|b`: either.")
    threads: int = Field(description="Intra-op threads that the sample's outputs were computed with.")
    tolerance: float = Field(description="Largest difference from the sample's outputs that is not a fault.")
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    recipe: Recipe
    files: dict[str, FileFacts] = Field(description="Every other file of the artifact, by name.")


def facts_of(path: Path) -> FileFacts:
    """What the manifest says of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileFacts(sha256=digest, size=path.stat().st_size)

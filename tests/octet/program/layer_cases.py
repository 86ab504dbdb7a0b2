"""Every layer and layer function of `torch.nn`, in all its forms: per family, branches that read the same input."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from layer_cases_rows import activations, embeddings, linears, losses, norms_of_rows
from layer_cases_sequences import attention, cells, recurrent, transformers
from layer_cases_spatial import convolutions, norms, pooling, pooling_of_images, resampling, resizing
from layer_forms import SPATIAL, Layers, ids, image, of_dims, sequence, table
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


def _stem(dims: int) -> nn.Module:
    return of_dims("Conv", dims)(4, 4, 1)


# name -> the layers, what comes before them, an input of two samples.
FAMILIES: dict[str, tuple[Callable[[], Layers], Callable[[], nn.Module], Callable[[], Tensor]]] = {
    **{
        f"{make.__name__} {dims}d": (partial(make, dims), partial(_stem, dims), SPATIAL[dims])
        for make in (convolutions, norms, pooling, resizing)
        for dims in SPATIAL
    },
    "linears": (linears, partial(nn.Linear, 8, 8), sequence),
    "norms of rows": (norms_of_rows, partial(nn.Linear, 8, 8), table),
    "embeddings": (embeddings, nn.Identity, ids),
    "recurrent": (recurrent, partial(nn.Linear, 8, 8), sequence),
    "cells": (cells, partial(nn.Linear, 8, 8), sequence),
    "attention": (attention, partial(nn.Linear, 8, 8), sequence),
    "transformers": (transformers, partial(nn.Linear, 8, 8), sequence),
    "activations": (activations, partial(_stem, 2), image),
    "pooling of images": (pooling_of_images, partial(_stem, 2), image),
    "resampling": (resampling, partial(_stem, 2), image),
    "losses": (losses, partial(nn.Linear, 8, 8), table),
}

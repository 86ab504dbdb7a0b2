"""Samples that nothing is learnt from: the best epoch is chosen by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from octet.measure.compare import right
from octet.quantization.training.losses import outputs_of
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.fx import GraphModule

    from octet.data.samples import Samples
    from octet.quantization.training.losses import Loss
    from octet.recipe import Training


@dataclass(frozen=True)
class Validation:
    """How a model does on the samples held back.

    Attributes:
        loss: Mean over them.
        score: Accuracy, where they have labels.
    """

    loss: float
    score: float | None


def hold_back(samples: Samples, training: Training) -> tuple[Samples, Samples | None]:
    """The samples to learn from, and those to choose the best epoch by; None: there are too few for that."""
    count = int(len(samples) * training.validation)
    order = np.random.default_rng(training.seed).permutation(len(samples))
    return samples.take(np.sort(order[count:])), samples.take(np.sort(order[:count])) if count else None


def validate(
    observed: GraphModule, loss: Loss, samples: Samples, *, size: int, device: str, on_batch: Callable[[], None]
) -> Validation:
    """Runs `observed`, in eval mode, on all of `samples` in batches of `size`."""
    total, hits = 0.0, None
    with torch.no_grad(), kept(observed, loss.teacher):
        for batch in (batch.to(device) for batch in samples.batches(size)):
            outputs = outputs_of(observed, batch)
            total += loss.of(outputs, batch).item() * batch.count
            if batch.targets is not None and not batch.targets.is_floating_point():
                hits = (hits or 0.0) + right(outputs[0], batch.targets[: batch.count])
            on_batch()
    return Validation(total / len(samples), None if hits is None else hits / len(samples))

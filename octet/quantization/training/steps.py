"""The steps of learning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.nn.utils import clip_grad_norm_

from octet.quantization.training.failures import DivergedError, UntrainableError
from octet.quantization.training.losses import outputs_of
from octet.quantization.training.schedule import OPTIMIZERS, schedule

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from octet.data.samples import Batch
    from octet.quantization.training.losses import Loss
    from octet.recipe import Training


# What torch says where a gradient cannot be had; all else that goes wrong in training is an error.
_NO_GRADIENT = ("derivative for", "does not require grad", "not implemented for")
_TOO_LARGE = "without overflow"
"""What it says of a factor of a step that float32 cannot hold."""


class Steps:
    """Makes the steps of a training.

    Attributes:
        done: How many were made. To go on after some, set it with `go_on`.
        optimizer: torch's, with what it remembers of them.
    """

    def __init__(self, observed: GraphModule, loss: Loss, training: Training, steps: int) -> None:
        self._observed, self._loss, self._training, self._steps = observed, loss, training, steps
        self._parameters = list(observed.parameters())
        self.optimizer = OPTIMIZERS[training.optimizer](self._parameters, training)
        self.go_on(0)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def go_on(self, done: int) -> None:
        """As if `done` steps had been made."""
        self.done = done
        self._schedule = schedule(self.optimizer, self._training, self._steps, done)

    def make(self, batch: Batch) -> float:
        """Learns from `batch`; the loss before that.

        Raises:
            UntrainableError: If there is no gradient.
            DivergedError: If the loss or its gradient is not finite, or the step is larger than float32 can hold.
        """
        loss = self._loss.of(outputs_of(self._observed, batch), batch)
        if not loss.requires_grad:
            raise UntrainableError("no gradient goes through its outputs")
        _check("loss", value := loss.item())
        self.optimizer.zero_grad()
        try:
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        except RuntimeError as error:
            if any(words in str(error) for words in _NO_GRADIENT):
                raise UntrainableError(str(error).splitlines()[0].rstrip(".")) from error
            raise
        limit = self._training.clip_gradient
        _check("gradient", clip_grad_norm_(self._parameters, math.inf if limit is None else limit).item())
        self._step()
        self._schedule.step()
        self.done += 1
        return value

    def _step(self) -> None:
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if _TOO_LARGE in str(error):
                raise DivergedError("a step became larger than float32 can hold") from error
            raise


def _check(what: str, value: float) -> None:
    if not math.isfinite(value):
        raise DivergedError(f"the {what} became {value}")

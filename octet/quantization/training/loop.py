"""Quantization-aware training, epoch by epoch: learns, validates, keeps the best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError

from octet.errors import QuantizationFailedError
from octet.quantization.training.checkpoint import (
    Progress,
    load,
    memory_of,
    remember,
    restore,
    save,
    state_of,
)
from octet.quantization.training.clock import LEARNING, Clock
from octet.quantization.training.device import device_of, repeatable
from octet.quantization.training.failures import DivergedError, UntrainableError
from octet.quantization.training.freezing import Freezing
from octet.quantization.training.losses import Loss
from octet.quantization.training.steps import Steps
from octet.quantization.training.validation import Validation, hold_back, validate
from octet.report import Epoch
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.fx import GraphModule

    from octet.data.samples import Samples
    from octet.quantization.training.checkpoint import Checkpoint
    from octet.recipe import Training

_OTHER_RATE = "A lower training.learning_rate, or more epochs, may do better."
_LOWER_RATE = "Lower training.learning_rate, or check the data for values that are out of all proportion."


@dataclass(frozen=True)
class Trained:
    """How it went.

    Attributes:
        epochs: Each with its figures; one is marked as chosen.
        notes: What the report should say.
    """

    epochs: tuple[Epoch, ...]
    notes: tuple[str, ...]


def train(
    observed: GraphModule,
    teacher: GraphModule,
    samples: Samples,
    training: Training,
    *,
    checkpoint: Checkpoint | None,
    on_progress: Callable[[float, str], None],
) -> Trained:
    """Trains `observed` in place, and leaves it as it was after its best epoch, which may be none.

    The same seed, data and device give the same model, interrupted or not.

    Args:
        observed: Prepared for QAT and calibrated.
        teacher: The fp32 model.
        samples: With targets, where the loss needs them.
        training: How.
        checkpoint: Where to keep the progress, and to go on from.
        on_progress: Gets the share that is done and a line for people.

    Raises:
        UntrainableError: If no gradient reaches a weight; the weights of `observed` are then as they were.
        QuantizationFailedError: If it diverges in the first epoch.
    """
    if not list(observed.parameters()):
        raise UntrainableError("it has no weights")
    device = device_of(training)
    with repeatable(device), torch.enable_grad(), kept(observed, teacher):
        observed.to(device).requires_grad_(requires_grad=True)
        teacher.to(device)
        loop = _Loop(observed, teacher, samples, training, device, checkpoint, on_progress)
        try:
            return loop.run()
        finally:
            loop.freezing.stop()
            observed.to("cpu")
            teacher.to("cpu")


class _Loop:
    """A training between its epochs."""

    def __init__(  # noqa: PLR0917 - as `train`
        self,
        observed: GraphModule,
        teacher: GraphModule,
        samples: Samples,
        training: Training,
        device: str,
        checkpoint: Checkpoint | None,
        on_progress: Callable[[float, str], None],
    ) -> None:
        self.observed, self.training, self.device, self.checkpoint = observed, training, device, checkpoint
        self.samples, self.held_back = hold_back(samples, training)
        self.size = samples.fixed_batch or training.batch_size
        self.loss = Loss(training.losses, teacher)
        self.batches = _batches(self.samples, self.size)
        steps = self.batches * training.epochs
        self.freezing = Freezing(observed, training, steps)
        self.steps = Steps(observed, self.loss, training, steps)
        self.work_of_validation = _batches(self.held_back, self.size) if self.held_back else 0
        self.work_of_epoch = LEARNING * self.batches + self.work_of_validation
        self.clock = Clock(self.work_of_validation + self.work_of_epoch * training.epochs, on_progress)
        self.fingerprint = checkpoint.fingerprint(observed) if checkpoint else ""
        self.epochs: tuple[Epoch, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.best = state_of(observed)

    def run(self) -> Trained:
        """All epochs that are left."""
        if self.held_back is None and self.training.validation > 0:
            self.notes += ("There was too little data to hold any back from training: the last epoch was kept.",)
        if not self._resumed():
            self._judge(Epoch(number=0, loss=None))
        try:
            for number in range(self.epochs[-1].number + 1, self.training.epochs + 1):
                self._judge(self._epoch(number))
                self._save()
        except DivergedError as diverged:
            self._keep_best_after(diverged)
        finally:
            restore(self.observed, self.best)
        if self.epochs[0].chosen and self.held_back is not None:
            self.notes += ("Training did not get better than calibration alone, which was kept. " + _OTHER_RATE,)
        losses = [epoch.loss for epoch in self.epochs if epoch.loss is not None]
        if self.held_back is None and losses[-1:] > losses[:1]:
            rose = f"The loss rose from {losses[0]:.4g} in the first epoch to {losses[-1]:.4g} in the last."
            self.notes += (f"{rose} {_OTHER_RATE}",)
        return Trained(self.epochs, self.notes)

    def _epoch(self, number: int) -> Epoch:
        """Learns from every sample once, in an order of its own."""
        draw = np.random.default_rng((self.training.seed, number))
        torch.manual_seed(int(draw.integers(2**63)))
        self.freezing.train()
        total, rate = 0.0, 0.0
        for batch in self.samples.batches(self.size, draw.permutation(len(self.samples))):
            self.freezing.before(self.steps.done, batch.count)
            rate = self.steps.learning_rate
            loss = self.steps.make(batch.to(self.device))
            total += loss * batch.count
            self.clock.advance(LEARNING, f"epoch {number} of {self.training.epochs}, loss {loss:.4g}")
        return Epoch(number=number, loss=total / len(self.samples), learning_rate=rate)

    def _judge(self, epoch: Epoch) -> None:
        """Adds `epoch` with its validation; the best is marked, and the model as it is after it kept."""
        found = self._validated(epoch.number)
        if found is not None:
            epoch = epoch.model_copy(update={"validation_loss": found.loss, "validation_score": found.score})
        best = next((each for each in self.epochs if each.chosen), None)
        if best is None or self.held_back is None or _rank(epoch) < _rank(best):
            self.best = state_of(self.observed)
            self.epochs = tuple(each.model_copy(update={"chosen": False}) for each in self.epochs)
            epoch = epoch.model_copy(update={"chosen": True})
        self.epochs += (epoch,)

    def _validated(self, number: int) -> Validation | None:
        if self.held_back is None:
            return None
        self.freezing.stop()
        what = f"epoch {number} of {self.training.epochs}, validating"
        return validate(
            self.observed,
            self.loss,
            self.held_back,
            size=self.size,
            device=self.device,
            on_batch=lambda: self.clock.advance(1, what),
        )

    def _keep_best_after(self, diverged: DivergedError) -> None:
        number = self.epochs[-1].number + 1
        if number == 1:
            raise QuantizationFailedError(
                f"Training diverged: {diverged} in epoch 1 of {self.training.epochs}.", hint=_LOWER_RATE
            ) from diverged
        kept = next(epoch.number for epoch in self.epochs if epoch.chosen)
        where = f"in epoch {number} of {self.training.epochs}"
        self.notes += (f"Training diverged: {diverged} {where}. The model of epoch {kept} was kept. {_LOWER_RATE}",)

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        now = Progress(self.epochs, state_of(self.observed), self.best, memory_of(self.steps.optimizer))
        try:
            save(self.checkpoint, self.fingerprint, now)
        except (OSError, SafetensorError) as error:  # a full disk, or more than a process may write
            self.checkpoint = None
            self.notes += (f"Training could not be made safe against an interruption: {error}.",)
        else:
            self.checkpoint.on_saved()

    def _resumed(self) -> bool:
        """Whether there was a checkpoint to go on from."""
        if self.checkpoint is None or not self.checkpoint.path.exists():
            return False
        progress = load(self.checkpoint, self.fingerprint)
        if progress is None:
            self.notes += ("There was a checkpoint of another training, or a damaged one: training began anew.",)
            return False
        self.epochs, done = progress.epochs, progress.epochs[-1].number
        restore(self.observed, progress.model)
        self.best = {name: tensor.to(self.device) for name, tensor in progress.best.items()}
        remember(self.steps.optimizer, progress.optimizer)
        self.steps.go_on(done * self.batches)
        self.clock.skip(self.work_of_validation + done * self.work_of_epoch)
        self.notes += (f"Training was interrupted; it went on after epoch {done} of {self.training.epochs}.",)
        return True


def _rank(epoch: Epoch) -> tuple[float, float]:
    """Less is better: by accuracy where there are labels, then by loss; what is not a number comes last."""
    loss = math.inf if epoch.validation_loss is None else epoch.validation_loss
    return -(epoch.validation_score or 0.0), math.inf if math.isnan(loss) else loss


def _batches(samples: Samples, size: int) -> int:
    return math.ceil(len(samples) / size)

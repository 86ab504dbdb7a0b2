"""Quantization-aware training: the weights learn to live with the rounding."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.ao.quantization import disable_observer
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from octet.errors import QuantizationFailedError
from octet.report import Epoch
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.fx import GraphModule

    from octet.data.samples import Batch, Samples
    from octet.recipe import Training

SETTLE_AFTER = 0.5
"""Share of the steps after which ranges stay as they are, so that the weights meet those they are converted with."""

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], float], torch.optim.Optimizer]] = {
    "sgd": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, momentum=0.9),
    "adamw": lambda parameters, rate: torch.optim.AdamW(parameters, lr=rate),
}


class UntrainableError(Exception):
    """No gradient reaches a weight: there is nothing to learn, or no way to."""


# What torch says where a gradient cannot be had; all else that goes wrong in training is an error.
_NO_GRADIENT = ("derivative for", "does not require grad", "not implemented for")


def _distillation(outputs: Tensor, batch: Batch, teacher: GraphModule) -> Tensor:
    """Noise over signal of the outputs against fp32: 10 ** (-SQNR / 10). Needs no labels and no common scale."""
    with torch.no_grad():
        wanted = _first(teacher(*batch.inputs))
    return functional.mse_loss(outputs, wanted) / wanted.square().mean().clamp_min(1e-12)


def _cross_entropy(outputs: Tensor, batch: Batch, _: GraphModule) -> Tensor:
    assert batch.targets is not None  # noqa: S101 -- the pipeline refuses a job without them
    return functional.cross_entropy(outputs, batch.targets)


def _mse(outputs: Tensor, batch: Batch, _: GraphModule) -> Tensor:
    assert batch.targets is not None  # noqa: S101 -- likewise
    return functional.mse_loss(outputs, batch.targets.reshape(outputs.shape).to(outputs.dtype))


LOSSES: dict[str, Callable[[Tensor, Batch, GraphModule], Tensor]] = {
    "distillation": _distillation,
    "cross_entropy": _cross_entropy,
    "mse": _mse,
}


def train(
    observed: GraphModule,
    teacher: GraphModule,
    samples: Samples,
    training: Training,
    on_step: Callable[[int, int, str], None],
) -> tuple[Epoch, ...]:
    """Trains `observed` in place. The same seed, data and device give the same model.

    Args:
        observed: Prepared for QAT and calibrated.
        teacher: The fp32 model.
        samples: With targets, where the loss needs them.
        training: How.
        on_step: Gets (done, all) steps and a line for people.

    Raises:
        UntrainableError: If no gradient reaches a weight; `observed` is then as it was.
        QuantizationFailedError: If the loss stops being a number.
    """
    if not list(observed.parameters()):
        raise UntrainableError("it has no weights")
    device = _device(training.device)
    loop = _Loop(observed, teacher, samples, training, device)
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad(), kept(observed, teacher):
        torch.manual_seed(training.seed)
        observed.to(device).train().requires_grad_(requires_grad=True)
        # A short training keeps the statistics that the fp32 model converged to; those of a batch would drown the
        # rounding in noise (Krishnamoorthi, arXiv 1806.08342, section 3.2.2, freezes them for the same reason).
        observed.apply(_keep_statistics)
        if "distillation" in training.losses:
            # The teacher drops nothing: against it, dropout is an error to unlearn that outweighs the rounding.
            observed.apply(_drop_nothing)
        teacher.to(device)
        try:
            return tuple(loop.epoch(number, on_step) for number in range(1, training.epochs + 1))
        finally:
            observed.to("cpu").eval()
            teacher.to("cpu")


class _Loop:
    """The state of a training between its steps."""

    def __init__(
        self, observed: GraphModule, teacher: GraphModule, samples: Samples, training: Training, device: str
    ) -> None:
        self.observed, self.teacher, self.samples, self.training = observed, teacher, samples, training
        self.device = device
        self.optimizer = OPTIMIZERS[training.optimizer](list(observed.parameters()), training.learning_rate)
        self.shuffle = np.random.default_rng(training.seed)
        self.size = samples.fixed_batch or training.batch_size
        self.steps = math.ceil(len(samples) / self.size) * training.epochs
        self.step = 0

    def epoch(self, number: int, on_step: Callable[[int, int, str], None]) -> Epoch:
        """Goes over the samples once, in an order of its own."""
        total = 0.0
        for batch in self.samples.batches(self.size, self.shuffle.permutation(len(self.samples))):
            if self.step >= self.steps * SETTLE_AFTER:
                self.observed.apply(disable_observer)
            loss = self._learn(batch.to(self.device))
            if not math.isfinite(loss):
                raise QuantizationFailedError(
                    f"The training loss became {loss} in epoch {number}.",
                    hint="Lower training.learning_rate, or check the data for values that are not finite.",
                )
            total += loss * batch.count
            self.step += 1
            on_step(self.step, self.steps, f"epoch {number} of {self.training.epochs}, loss {loss:.4g}")
        return Epoch(number=number, loss=total / len(self.samples))

    def _learn(self, batch: Batch) -> float:
        """One step; the loss before it."""
        outputs = _first(self.observed(*batch.inputs))
        losses = self.training.losses.items()
        loss = torch.stack([share * LOSSES[name](outputs, batch, self.teacher) for name, share in losses]).sum()
        self.optimizer.zero_grad()
        try:
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        except RuntimeError as error:
            if any(words in str(error) for words in _NO_GRADIENT):
                raise UntrainableError(str(error).splitlines()[0].rstrip(".")) from error
            raise
        self.optimizer.step()
        return loss.item()


def _keep_statistics(module: nn.Module) -> None:
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
        module.eval()


def _drop_nothing(module: nn.Module) -> None:
    if isinstance(module, _DropoutNd):
        module.p = 0.0
    elif isinstance(module, nn.RNNBase):
        module.dropout = 0.0


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise QuantizationFailedError(
            "The recipe asks to train on CUDA, and this machine has none.", hint="Set training.device to auto or cpu."
        )
    return wanted


def _first(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    return outputs[0] if isinstance(outputs, tuple) else outputs

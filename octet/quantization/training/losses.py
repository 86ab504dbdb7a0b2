"""What training makes small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from octet.quantization.training.failures import UntrainableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor
    from torch.fx import GraphModule

    from octet.data.samples import Batch
    from octet.recipe import LossName

Outputs = tuple["Tensor", ...]

_LEAST_SIGNAL = 1e-12


def outputs_of(module: GraphModule, batch: Batch) -> Outputs:
    """What `module` gives for the samples of `batch` that are real, without single numbers, which are of no sample."""
    outputs = module(*batch.inputs)
    tensors = outputs if isinstance(outputs, tuple) else (outputs,)
    return tuple(_real(tensor, batch) for tensor in tensors if isinstance(tensor, torch.Tensor) and tensor.ndim)


def _real(output: Tensor, batch: Batch) -> Tensor:
    """Without what was only filled up, where the first dimension is the batch."""
    return output[: batch.count] if len(output) == len(batch.inputs[0]) else output


@dataclass(frozen=True)
class Loss:
    """The weighted sum of the recipe's losses.

    Attributes:
        shares: The losses and their weights.
        teacher: The fp32 model.
    """

    shares: Mapping[LossName, float]
    teacher: GraphModule

    def of(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The loss of what a model gave for `batch`, a number.

        Raises:
            UntrainableError: If there is no loss of such outputs.
        """
        if not outputs or not outputs[0].is_floating_point():
            raise UntrainableError("its first output is not of floats")
        losses = [share * LOSSES[name](outputs, batch, self.teacher) for name, share in self.shares.items()]
        return torch.stack(losses).sum()


def _distillation(outputs: Outputs, batch: Batch, teacher: GraphModule) -> Tensor:
    """Noise over signal of the outputs against fp32: 10 ** (-SQNR / 10). Needs no labels and no common scale."""
    with torch.no_grad():
        wanted = outputs_of(teacher, batch)
    floats = [pair for pair in zip(outputs, wanted, strict=True) if pair[1].is_floating_point()]
    return torch.stack([_noise(output, target) for output, target in floats]).mean()


def _noise(output: Tensor, wanted: Tensor) -> Tensor:
    """What fp32 itself makes infinite, such as a masked score, is left out."""
    finite = wanted.isfinite()
    error = torch.where(finite, output - wanted, 0.0)
    signal = torch.where(finite, wanted, 0.0)
    return error.square().mean() / signal.square().mean().clamp_min(_LEAST_SIGNAL)


def _cross_entropy(outputs: Outputs, batch: Batch, _: GraphModule) -> Tensor:
    return functional.cross_entropy(outputs[0], _targets(batch))


def _mse(outputs: Outputs, batch: Batch, _: GraphModule) -> Tensor:
    return functional.mse_loss(outputs[0], _targets(batch).reshape(outputs[0].shape).to(outputs[0].dtype))


def _targets(batch: Batch) -> Tensor:
    assert batch.targets is not None  # noqa: S101 -- the pipeline refuses a job without them
    return batch.targets[: batch.count]


LOSSES: dict[LossName, Callable[[Outputs, Batch, GraphModule], Tensor]] = {
    "distillation": _distillation,
    "cross_entropy": _cross_entropy,
    "mse": _mse,
}

"""Both models on the same samples: how far apart they are, and how right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional

from octet.errors import QuantizationFailedError
from octet.measure.noise import Noise
from octet.report import Accuracy, Fidelity
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from octet.data.samples import Samples

BATCH_BYTES = 64 * 2**20
"""Most input bytes run at once."""
LARGEST_BATCH = 64


@dataclass
class Comparison:
    """Sums over batches; figures when asked for."""

    noise: Noise = field(default_factory=Noise)
    max_abs_error: float = 0.0
    samples: int = 0
    agreeing: int | None = None
    metric: Literal["accuracy", "mse"] | None = None
    scores: tuple[float, float] = (0.0, 0.0)

    def add(self, fp32: Tensor, int8: Tensor, targets: Tensor | None) -> None:
        """Adds one batch of the first output of both models; fp32's own infinities are left out of the errors.

        Raises:
            QuantizationFailedError: If int8 gives no number where fp32 gives one.
        """
        self.samples += len(fp32)
        finite = fp32.isfinite()
        wanted, got = fp32[finite], int8[finite]
        if not got.isfinite().all():
            raise QuantizationFailedError(
                "The int8 model gives values that are not finite where the fp32 model's are.",
                hint="Leave the layers whose SQNR is lowest in float.",
            )
        self.noise.add(wanted, got)
        if wanted.numel():
            self.max_abs_error = max(self.max_abs_error, (wanted - got).abs().max().item())
        if _classifies(fp32):
            self.agreeing = (self.agreeing or 0) + int((fp32.argmax(1) == int8.argmax(1)).sum())
        self.metric = _metric(fp32, targets)
        if self.metric and targets is not None:
            score = _SCORES[self.metric]
            self.scores = (self.scores[0] + score(fp32, targets), self.scores[1] + score(int8, targets))

    def fidelity(self, source: Literal["evaluation", "calibration", "synthetic"]) -> Fidelity:
        """int8 against fp32."""
        return Fidelity(
            sqnr_db=self.noise.sqnr_db,
            agreement=None if self.agreeing is None else self.agreeing / self.samples,
            max_abs_error=self.max_abs_error,
            source=source,
            samples=self.samples,
        )

    def accuracy(self) -> Accuracy | None:
        """Both against the targets; None if there are none, or none that fit the output."""
        if self.metric is None:
            return None
        fp32, int8 = (score / self.samples for score in self.scores)
        drop = fp32 - int8 if self.metric == "accuracy" else int8 - fp32
        return Accuracy(metric=self.metric, fp32=fp32, int8=int8, drop=drop, samples=self.samples)


def compare(fp32: nn.Module, int8: nn.Module, samples: Samples, on_step: Callable[[int, int], None]) -> Comparison:
    """Runs all of `samples` through both models; `on_step` gets (done, all) samples."""
    comparison = Comparison()
    with torch.inference_mode(), kept(fp32, int8):
        for batch in samples.batches(batch_size(samples)):
            wanted, got = (first_output(model(*batch.inputs))[: batch.count] for model in (fp32, int8))
            comparison.add(wanted, got, None if batch.targets is None else batch.targets[: batch.count])
            on_step(comparison.samples, len(samples))
    return comparison


def batch_size(samples: Samples) -> int:
    """How many of `samples` are run at once."""
    return max(1, min(LARGEST_BATCH, BATCH_BYTES // samples.sample_bytes))


def first_output(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The output that figures are about."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def right(outputs: Tensor, labels: Tensor) -> float:
    """How many samples are right; of one with several labels, the share of them."""
    return (outputs.argmax(1) == labels).double().mean().item() * len(outputs)


def _classifies(outputs: Tensor) -> bool:
    return outputs.ndim == 2 and outputs.shape[1] >= 2  # noqa: PLR2004 -- [batch, classes], and classes to choose from


def _metric(outputs: Tensor, targets: Tensor | None) -> Literal["accuracy", "mse"] | None:
    if targets is None:
        return None
    if targets.is_floating_point():
        return "mse"
    return "accuracy" if targets.shape == (outputs.shape[0], *outputs.shape[2:]) else None


_SCORES: dict[str, Callable[[Tensor, Tensor], float]] = {
    # Sums over a batch; what is reported is their mean over samples.
    "accuracy": right,
    "mse": lambda outputs, values: float(
        functional.mse_loss(outputs, values.reshape(outputs.shape).to(outputs.dtype)) * len(outputs)
    ),
}

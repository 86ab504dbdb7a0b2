"""What stands still while weights learn, and from when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from octet.quantization.training.fakes import fakes_of
from octet.quantization.training.norms import NORMS

if TYPE_CHECKING:
    from octet.recipe import Training


class Freezing:
    """Switches ranges and the statistics of batch norms on and off, step by step.

    Ranges stand still at last, so that the weights meet those they are converted with. Statistics stand still from the
    start unless the recipe says otherwise: a short training keeps those that the fp32 model converged to; those of a
    batch would drown the rounding in noise (Krishnamoorthi, arXiv 1806.08342, section 3.2.2, freezes them too).
    """

    def __init__(self, observed: nn.Module, training: Training, steps: int) -> None:
        self._observed = observed
        self._fakes = fakes_of(observed)
        self._norms = [module for module in observed.modules() if isinstance(module, NORMS)]
        self._ranges_until = training.freeze_observers * steps
        self._statistics_until = training.freeze_batch_norm * steps
        self._ranges_follow: bool | None = None
        if self._ranges_until > 0:
            for fake in self._fakes:
                fake.follow()
        if "distillation" in training.losses:
            # The teacher drops nothing: against it, dropout is an error to unlearn that outweighs the rounding.
            observed.apply(_drop_nothing)

    def train(self) -> None:
        """Begins, or goes on, to train."""
        self._observed.train()

    def before(self, step: int, count: int) -> None:
        """Sets everything for a step on `count` samples."""
        self._follow(step < self._ranges_until)
        for norm in self._norms:
            norm.train(step < self._statistics_until and count > 1)  # there is no variance in one sample

    def stop(self) -> None:
        """Nothing changes any more, and the model runs as it will be converted."""
        self._ranges_follow = None  # unknown, where an earlier state was restored
        self._follow(False)
        self._observed.eval()

    def _follow(self, wanted: bool) -> None:
        if wanted != self._ranges_follow:  # each switch is a buffer, maybe on another device
            for fake in self._fakes:
                fake.enable_observer(wanted)
        self._ranges_follow = wanted


def _drop_nothing(module: nn.Module) -> None:
    if isinstance(module, _DropoutNd):
        module.p = 0.0
    elif isinstance(module, nn.RNNBase):
        module.dropout = 0.0

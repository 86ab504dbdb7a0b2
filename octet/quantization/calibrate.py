"""Calibration: the observed model sees data, and its observers find the ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.ao.quantization import disable_fake_quant, enable_fake_quant, enable_observer

from octet.quantization.training.fakes import fakes_of
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.fx import GraphModule

    from octet.data.samples import Samples


def calibrate(observed: GraphModule, samples: Samples, batch_size: int, on_step: Callable[[int, int], None]) -> None:
    """Runs all of `samples` through `observed`, with the rounding not yet faked; `on_step` gets (done, all) samples."""
    observed.eval()
    observed.apply(enable_observer)
    observed.apply(disable_fake_quant)
    done = 0
    with torch.no_grad(), kept(observed):
        for batch in samples.batches(batch_size):
            observed(*batch.inputs)
            done += batch.count
            on_step(done, len(samples))
    observed.apply(enable_fake_quant)
    for fake in fakes_of(observed):
        fake.settle()

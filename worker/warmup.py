"""Does once, ahead of the job, what torch does at its first use: imports mostly, which take longer than a small job."""

from __future__ import annotations

import numpy as np
from torch import fx, nn
from torch.hub import tqdm  # type: ignore[attr-defined]  # or its stand-in, which is there without tqdm

from octet.data.samples import Samples
from octet.quantization import quantize_module, use_engine
from octet.recipe import Recipe


def warm_up() -> None:
    """Quantize the smallest model there is. It times nothing, so it never waits for a job that measures."""
    tqdm.monitor_interval = 0  # or torch.fx starts its thread, and this process is to have one
    recipe = Recipe()
    model = fx.symbolic_trace(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()).eval())
    data = Samples((np.zeros((2, 1, 4, 4), "float32"),), None, np.arange(2), source="synthetic", fixed_batch=None)
    inputs = data.batch(np.arange(2)).inputs
    with use_engine(recipe.engine):
        quantize_module(model, recipe, inputs=inputs, calibration=data, training=None, on_stage=lambda *_: None)

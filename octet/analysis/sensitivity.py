"""Which layers a model can least afford to have rounded, by rounding them one at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from octet.measure import Comparison
from octet.measure.compare import batch_size, first_output
from octet.report import CurvePoint, LayerSensitivity, Sensitivity
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch.fx import GraphModule

    from octet.data.samples import Samples
    from octet.quantization import Simulated

MOST_SAMPLES = 64
MOST_POINTS = 33
"""Of the curve, both of its ends among them."""
_FAR_OFF = torch.finfo(torch.float32).max


def rank_layers(
    simulated: Simulated, module: GraphModule, samples: Samples, on_step: Callable[[int, int], None]
) -> tuple[LayerSensitivity, ...]:
    """What the output of `module` loses if one layer alone is rounded; the most sensitive first.

    Args:
        simulated: Made of `module`.
        module: In float.
        samples: Each is run once in float, and once for each layer.
        on_step: Gets (done, all) layers.
    """
    choices = [(layer,) for layer in simulated.layers]
    comparisons = _compared(choices, simulated, module, samples, on_step)
    layers = (
        LayerSensitivity(name=layer, sqnr_db=comparison.noise.sqnr_db, score=_score(comparison))
        for (layer,), comparison in zip(choices, comparisons, strict=True)
    )
    return tuple(sorted(layers, key=lambda layer: math.inf if layer.sqnr_db is None else layer.sqnr_db))


def sensitivity(
    simulated: Simulated, module: GraphModule, samples: Samples, on_step: Callable[[int, int], None]
) -> Sensitivity:
    """The ranking of the layers, and what the model gives with ever more of the first of them left in float.

    The curve has a point for every number of layers, or, where that are too many, points at equal ratios; its last is
    fp32 itself.

    Args:
        simulated: Made of `module`.
        module: In float.
        samples: At most `MOST_SAMPLES` of them are run: twice in fp32, once for each layer, and once for each point
            but the last.
        on_step: Gets (done, all) layers and points.
    """
    used = samples.take(slice(0, MOST_SAMPLES))
    counts = _counts(len(simulated.layers))
    steps = len(simulated.layers) + len(counts)
    ranking = rank_layers(simulated, module, used, lambda done, _: on_step(done, steps))
    names = [layer.name for layer in ranking]
    comparisons = _compared(
        [names[count:] for count in counts],
        simulated,
        module,
        used,
        lambda done, _: on_step(len(names) + done, steps),
    )
    curve = tuple(
        CurvePoint(float_layers=count, sqnr_db=comparison.noise.sqnr_db, score=_score(comparison))
        for count, comparison in zip(counts, comparisons, strict=True)
    )
    return Sensitivity(layers=ranking, curve=curve, samples=len(used), passes=steps + 1)


def _counts(layers: int) -> list[int]:
    """How many layers the points of the curve leave in float."""
    if layers < MOST_POINTS:
        return list(range(layers + 1))
    spaced = np.geomspace(1, layers, MOST_POINTS - 1).round().astype(int)
    return [0, *(int(count) for count in np.unique(spaced))]


def _compared(
    choices: Sequence[Sequence[str]],
    simulated: Simulated,
    module: GraphModule,
    samples: Samples,
    on_step: Callable[[int, int], None],
) -> list[Comparison]:
    """fp32 against the model with each choice of layers rounded; each batch starts from the state of the file."""
    comparisons = [Comparison() for _ in choices]
    size = batch_size(samples)
    of, done = math.ceil(len(samples) / (samples.fixed_batch or size)) * len(choices), 0
    with torch.inference_mode():
        for batch in samples.batches(size):
            targets = None if batch.targets is None else batch.targets[: batch.count]
            with kept(module):
                wanted = first_output(module(*batch.inputs))[: batch.count]
            for layers, comparison in zip(choices, comparisons, strict=True):
                got = wanted
                if layers:
                    with simulated.only(layers) as rounded, kept(rounded):
                        got = first_output(rounded(*batch.inputs))[: batch.count]
                # What is no number any more is as far off as numbers go: a layer to rank first, not an error.
                comparison.add(wanted, got.nan_to_num(nan=_FAR_OFF), targets)
                done += 1
                on_step(done * len(choices) // of, len(choices))
    return comparisons


def _score(comparison: Comparison) -> float | None:
    accuracy = comparison.accuracy()
    return None if accuracy is None else accuracy.int8

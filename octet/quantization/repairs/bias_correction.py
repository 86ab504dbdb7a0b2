"""Bias correction: the mean error that rounding gives to each channel goes into its bias.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv 1906.04721), section 4.2
and appendix D: rounding shifts the mean of what a layer gives, and the shift is a constant, so the bias can take it
back. It is measured on data, layer by layer, each behind layers that are corrected already; Finkelstein et al.,
"Fighting Quantization Bias With Bias" (arXiv 1906.03193), do the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from octet.quantization.repairs.lockstep import in_lockstep, weighted
from octet.quantization.repairs.rows import channel_dim
from octet.report import Repair

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor
    from torch.fx import GraphModule

    from octet.data.samples import Samples


def bias_shifts(
    simulated: GraphModule, exact: GraphModule, layers: Collection[str], samples: Samples, batch_size: int
) -> tuple[dict[str, Tensor], Repair]:
    """What has to be added to the bias of each of `layers`, by path; the biases in `simulated` are corrected.

    Args:
        simulated: A graph that computes with rounded values, in floats.
        exact: The float graph, with the same layers under the same paths; they are compared before their activation.
        layers: The paths of linear layers and convolutions; those that only one graph calls are left out, and so are
            those that no sample reaches.
        samples: At most `MOST_SAMPLES` of them are used.
        batch_size: How many are run at once.
    """
    wanted: dict[str, _Statistics] = {}
    shifts: dict[str, Tensor] = {}
    shares: dict[str, float] = {}

    def measure(path: str, layer: Any, inputs: list[Tensor]) -> None:
        if path in layers and path not in wanted and _reached(inputs):
            wanted[path] = _Statistics.of(layer, inputs)

    def correct(path: str, layer: Any, inputs: list[Tensor]) -> None:
        if path in wanted and path not in shifts and _reached(inputs):
            shift = wanted[path].mean - _Statistics.of(layer, inputs).mean
            shares[path] = float((shift.abs() / wanted[path].size).max())
            shifts[path] = shift
            add_to_bias(layer, shift)

    in_lockstep(exact, samples, batch_size, measure)
    in_lockstep(simulated, samples, batch_size, correct)
    return shifts, Repair(repair="correct_bias", layers=tuple(shifts), summary=_summary(shares))


def _reached(inputs: list[Tensor]) -> bool:
    return any(each.numel() for each in inputs)


def add_to_bias(called: nn.Module, shift: Tensor) -> None:
    """Adds `shift` to the bias of the layer that a call of `called` starts with; it gets one if it has none."""
    layer = weighted(called)
    bias = shift if layer.bias is None else layer.bias.detach() + shift
    layer.bias = nn.Parameter(bias, layer.weight.requires_grad)


@dataclass(frozen=True)
class _Statistics:
    """Mean and root mean square of each channel of what a layer gives; a constant has no standard deviation."""

    mean: Tensor
    size: Tensor

    @classmethod
    def of(cls, layer: Any, inputs: list[Tensor]) -> _Statistics:
        outputs = [layer(each).movedim(channel_dim(layer), -1).flatten(0, -2) for each in inputs]
        count = sum(map(len, outputs))
        mean = torch.stack([output.double().sum(0) for output in outputs]).sum(0) / count
        power = torch.stack([output.double().square().sum(0) for output in outputs]).sum(0) / count
        return cls(mean.float(), power.sqrt().float().clamp_min(torch.finfo(torch.float32).tiny))


def _summary(shares: dict[str, float]) -> str:
    if not shares:
        return "No linear layer or convolution was quantized."
    worst = max(shares, key=lambda path: shares[path])
    return (
        f"The largest mean error that was taken back is {shares[worst]:.2g} times the root mean square of its channel "
        f"(in {worst!r})."
    )

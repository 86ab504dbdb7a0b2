"""Clipping of outliers among weights, where the finer steps for all others gain more than that loses.

As in Banner et al., "Post-training 4-bit quantization of convolution networks for rapid-deployment" (arXiv 1810.05723),
the range is not that of the extremes but the one of least error. Theirs is the error of the tensor itself. Here it is
what the layer gives on calibration data, ||(W - Wq) x||^2, as in Nagel et al., "Up or Down?" (arXiv 2004.10568),
section 3: a large weight that multiplies next to nothing may go, and one that matters stays. The observer `mse` sees
weights alone, and so keeps both. Without data the error is that of the weights.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call
from torch.fx import GraphModule

from octet.quantization.repairs.lockstep import in_lockstep
from octet.quantization.repairs.rows import channel_dim, from_rows, to_rows
from octet.report import Repair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from octet.data.samples import Samples

STEP = 0.9
"""Each bound that is tried is this much of the one before."""
HOPELESS = 2.0
"""A tighter bound loses more to clipping and less to rounding: once the sum of both is twice the least there was, the
clipping alone is more than that, and so it is for all tighter bounds."""
LEAST_GAIN = 0.9
"""A channel is clipped only if that takes away a tenth of its error: less may be an accident of the data."""
LEAST_BOUND = 1e-4
"""Of the largest weight."""


@dataclass(frozen=True)
class Rounding:
    """How the weight of a layer is rounded: a function of the weight, and whether its channels have ranges apart."""

    rounded: Callable[[Tensor], Tensor]
    per_channel: bool


def clip_weights(
    module: GraphModule, roundings: Mapping[str, Rounding], samples: Samples | None, batch_size: int
) -> tuple[GraphModule, Repair]:
    """A copy of `module` with the outliers clipped of each weight that has a rounding.

    Args:
        module: Float; left as it is.
        roundings: By the paths of layers.
        samples: What the error is weighed on; None: that of the weights themselves.
        batch_size: How many samples are run at once.
    """
    clipped = GraphModule(module, copy.deepcopy(module.graph))
    gains: dict[str, float] = {}

    def visit(path: str, layer: Any, inputs: list[Tensor]) -> None:
        if path in roundings and path not in gains:
            search = _Search(layer, roundings[path], inputs)
            weight, gain = search.best()
            if gain > 1:
                gains[path] = gain
                _replace_weight(clipped, path, layer, weight)

    if samples is None:
        for path in roundings:
            visit(path, module.get_submodule(path), [])
    else:
        in_lockstep(module, samples, batch_size, visit)
    return clipped, Repair(repair="clip_weights", layers=tuple(gains), summary=_summary(gains, samples))


def _summary(gains: dict[str, float], samples: Samples | None) -> str:
    error = "the weights" if samples is None else "what they give on calibration data"
    if not gains:
        return f"No weight has outliers whose clipping would lower the error of {error}."
    most = max(gains, key=lambda path: gains[path])
    return f"Clipping lowers the squared error of {error} by up to {gains[most]:.3g} times (in {most!r})."


def _replace_weight(module: GraphModule, path: str, layer: Any, weight: Tensor) -> None:
    own = copy.deepcopy(layer)
    own.weight = nn.Parameter(weight, layer.weight.requires_grad)
    module.add_submodule(path, own)


@dataclass(frozen=True)
class _Search:
    """Looks for the bounds of the weights of one layer."""

    layer: Any
    rounding: Rounding
    inputs: list[Tensor]

    def best(self) -> tuple[Tensor, float]:
        """The weight within the bounds of least error, and how many times less that is."""
        weight = self.layer.weight.detach()
        peaks = to_rows(self.layer, weight).flatten(2).abs().amax(2)
        peaks = peaks if self.rounding.per_channel else peaks.max().expand(peaks.shape)
        unclipped = self._errors(weight)
        least, bounds, share = unclipped, peaks, 1.0
        while share > LEAST_BOUND:
            share *= STEP
            errors = self._errors(self._clipped(peaks * share))
            bounds = torch.where(errors < least, peaks * share, bounds)
            least = least.minimum(errors)
            if (errors >= HOPELESS * least).all():
                break
        worth_it = least < LEAST_GAIN * unclipped
        gain = unclipped.sum() / torch.where(worth_it, least, unclipped).sum()
        return self._clipped(torch.where(worth_it, bounds, peaks)), float(gain)

    def _clipped(self, bounds: Tensor) -> Tensor:
        rows = to_rows(self.layer, self.layer.weight.detach())
        bounds = bounds.view(*bounds.shape, *[1] * (rows.dim() - bounds.dim()))
        return from_rows(self.layer, rows.clamp(-bounds, bounds)).contiguous()

    def _errors(self, weight: Tensor) -> Tensor:
        """The squared error of each output channel (groups, outputs) if the layer has `weight`, rounded; or of all."""
        lost = self.layer.weight.detach() - self.rounding.rounded(weight)
        rows = to_rows(self.layer, lost).flatten(2)
        errors = rows.square().sum(2)
        if self.inputs:
            given = (self._given(lost, each) for each in self.inputs)
            errors = torch.stack([each.square().sum(0) for each in given]).sum(0).view(errors.shape)
        return errors if self.rounding.per_channel else errors.sum().expand(errors.shape)

    def _given(self, weight: Tensor, inputs: Tensor) -> Tensor:
        """What the layer gives if it has `weight` and no bias (values, channels)."""
        parameters = {name: torch.zeros_like(bias) for name, bias in self.layer.named_parameters() if name == "bias"}
        output: Tensor = functional_call(self.layer, {**parameters, "weight": weight}, inputs)
        return output.movedim(channel_dim(self.layer), -1).flatten(0, -2)

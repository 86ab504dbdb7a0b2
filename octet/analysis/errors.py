"""What each layer's kernel does to its output: next to fp32 in the int8 model, and on its own.

The layer's own error is what Numeric Suite's shadow loggers show: int8 kernel and float layer are given the same fp32
input, which the kernel gets with the scale that its input has in the int8 model.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter
from torch.utils._pytree import tree_leaves, tree_map

from octet.measure import Noise
from octet.quantization import executed_method
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.fx import GraphModule

    from octet.data.samples import Samples

MOST_SAMPLES = 32
MOST_SECONDS = 30.0
"""After which no further batch is begun."""
BATCH_SIZE = 8


@dataclass
class Extent:
    """The least and the largest finite value of tensors."""

    low: float = math.inf
    high: float = -math.inf

    def add(self, value: Any) -> None:
        """Takes in a tensor of floats; of anything else there is nothing to say."""
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            finite = value[value.isfinite()]
            if finite.numel():
                self.low, self.high = min(self.low, finite.min().item()), max(self.high, finite.max().item())

    @property
    def range(self) -> tuple[float, float] | None:
        """Both; None if there was no value."""
        return (self.low, self.high) if self.low <= self.high else None


@dataclass
class LayerErrors:
    """What was seen of one layer, over all its calls and samples.

    Attributes:
        accumulated: Of its output in the int8 model against fp32.
        own: The same with its input as in fp32; None: no kernel of its own, or one that does not take that input.
        inputs: What fp32 gave it.
        outputs: What it gave in fp32.
        clipped: Values of those that its int8 output cannot hold.
        held: All values of those; 0: its output is not int8.
    """

    accumulated: Noise = field(default_factory=Noise)
    own: Noise | None = None
    inputs: Extent = field(default_factory=Extent)
    outputs: Extent = field(default_factory=Extent)
    clipped: int = 0
    held: int = 0

    @property
    def saturation(self) -> float | None:
        """Share of its outputs that its int8 output cannot hold; None: it is not int8."""
        return self.clipped / self.held if self.held else None


def layer_errors(
    fp32: GraphModule, int8: GraphModule, names: Mapping[str, str], samples: Samples
) -> dict[str, LayerErrors]:
    """Runs at most `MOST_SAMPLES` of `samples` through both graphs and compares their layers; the engine must be set.

    Args:
        fp32: The float graph with the same layers fused as in `int8`, so that outputs mean the same.
        int8: The converted graph.
        names: Path of each layer of interest -> the name to count it under: calls of one layer may have paths each.
        samples: What both are run on.
    """
    errors: dict[str, LayerErrors] = defaultdict(LayerErrors)
    end = time.monotonic() + MOST_SECONDS
    with torch.no_grad(), kept(fp32, int8):
        for batch in samples.take(slice(0, MOST_SAMPLES)).batches(BATCH_SIZE):
            recorder = _Recorder(fp32, names)
            recorder.run(*batch.inputs)
            _Shadow(int8, names, recorder.calls, errors).run(*batch.inputs)
            if time.monotonic() > end:
                break
    return dict(errors)


@dataclass(frozen=True)
class _Call:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


class _Recorder(Interpreter):
    """Runs the float graph and keeps what its layers are given and give."""

    def __init__(self, module: GraphModule, names: Mapping[str, str]) -> None:
        super().__init__(module)
        self.calls: dict[str, deque[_Call]] = defaultdict(deque)
        self._names = names

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        output = super().call_module(target, args, kwargs)
        if target in self._names:
            self.calls[target].append(_Call(args, kwargs, output))
        return output


class _Shadow(Interpreter):
    """Runs the int8 graph and compares its layers with those of a float run, call by call."""

    def __init__(
        self,
        module: GraphModule,
        names: Mapping[str, str],
        calls: dict[str, deque[_Call]],
        errors: dict[str, LayerErrors],
    ) -> None:
        super().__init__(module)
        self._names = names
        self._calls = calls
        self._errors = errors

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        output = super().call_module(target, args, kwargs)
        if self._calls.get(target):
            exact = self._calls[target].popleft()
            errors = self._errors[self._names[target]]
            wanted, got = _first(exact.output), _first(output)
            errors.inputs.add(_first((exact.args, exact.kwargs)))
            errors.outputs.add(wanted)
            _compare(errors.accumulated, wanted, got)
            _count_clipped(errors, wanted, got)
            if executed_method(self.fetch_attr(target)) != "float":
                self._compare_own(errors, target, exact, (args, kwargs))
        return output

    def _compare_own(self, errors: LayerErrors, target: Any, exact: _Call, given: Any) -> None:
        try:
            args, kwargs = tree_map(_as_given, (exact.args, exact.kwargs), given)
            alone = self.fetch_attr(target)(*args, **kwargs)
        except Warning:
            raise
        except Exception:  # noqa: BLE001 - no kernel for what fp32 gives, of which torch says so in many ways: no figure
            return
        errors.own = errors.own or Noise()
        _compare(errors.own, _first(exact.output), _first(alone))


def _as_given(exact: Any, given: Any) -> Any:
    """`exact` in the form in which the kernel is given it."""
    if isinstance(given, torch.Tensor) and given.is_quantized:
        return torch.quantize_per_tensor(exact, given.q_scale(), given.q_zero_point(), given.dtype)
    return exact


def _first(value: Any) -> Tensor | None:
    """The first tensor in it: of a layer's output, the one that layers after it read."""
    return next((leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)), None)


def _compare(noise: Noise, wanted: Tensor | None, got: Tensor | None) -> None:
    """Adds the values that are finite in fp32; one that is not finite in int8 counts as far off."""
    if wanted is None or got is None or wanted.shape != got.shape:
        return
    finite = wanted.isfinite()
    values = (got.dequantize() if got.is_quantized else got)[finite]
    noise.add(wanted[finite], values.nan_to_num(nan=torch.finfo(torch.float32).max))


def _count_clipped(errors: LayerErrors, wanted: Tensor | None, got: Tensor | None) -> None:
    if wanted is None or got is None or not got.is_quantized:
        return
    limits = torch.iinfo(got.dtype)
    steps = torch.round(wanted / got.q_scale()) + got.q_zero_point()
    errors.clipped += int(((steps < limits.min) | (steps > limits.max)).sum())
    errors.held += steps.numel()

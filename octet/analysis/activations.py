"""The error of each layer's output inside the int8 model: its own, and what it inherits from the layers before."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import torch

from octet.measure import Noise
from octet.state import kept

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

    from octet.data.samples import Samples

MOST_SAMPLES = 32
BATCH_SIZE = 8


def activation_noise(fp32: GraphModule, int8: GraphModule, names: set[str], samples: Samples) -> dict[str, Noise]:
    """The noise of the outputs of the layers `names`, over at most `MOST_SAMPLES` samples.

    Args:
        fp32: The float graph with the same layers fused as in `int8`, so that outputs mean the same.
        int8: The converted graph.
        names: Module paths; those that only one of the graphs has are left out.
        samples: What both are run on.
    """
    noise: dict[str, Noise] = defaultdict(Noise)
    shared = names.intersection(*(dict(model.named_modules(remove_duplicate=False)) for model in (fp32, int8)))
    with kept(fp32, int8):
        for batch in samples.take(slice(0, MOST_SAMPLES)).batches(BATCH_SIZE):
            wanted, got = (_outputs(model, shared, batch.inputs) for model in (fp32, int8))
            for name in shared:
                # A layer that is called twice gives two outputs, in the same order in both graphs.
                for pair in zip(wanted[name], got[name], strict=True):
                    noise[name].add(*pair)
    return dict(noise)


def _outputs(module: GraphModule, names: set[str], inputs: tuple[Tensor, ...]) -> dict[str, list[Tensor]]:
    """The first output, as floats, of every call of the layers `names` while `module` runs on `inputs`."""
    outputs: dict[str, list[Tensor]] = defaultdict(list)

    def hook(name: str) -> Any:
        return lambda _module, _inputs, output: outputs[name].append(_as_float(output))

    handles = [module.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _as_float(output: Any) -> Tensor:
    tensor: Tensor = output[0] if isinstance(output, tuple) else output
    return tensor.dequantize() if tensor.is_quantized else tensor

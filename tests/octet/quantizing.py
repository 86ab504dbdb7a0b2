"""Quantizing without a program: from a module and tensors straight through the seam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from octet.data.samples import Samples
from octet.measure import Noise
from octet.quantization import Quantized, executed_method, quantize_module, use_engine
from octet.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn


def recipe_of(method: str, engine: str = "x86", **sections: Any) -> Recipe:
    """A recipe with a short training."""
    training = {"batch_size": 8, **sections.pop("training", {})}
    return Recipe.parse({"method": method, "engine": engine, "training": training, **sections})


def samples_of(*inputs: Tensor, targets: Tensor | None = None) -> Samples:
    """All of `inputs`, as data."""
    arrays = tuple(tensor.numpy() for tensor in inputs)
    return Samples(arrays, None if targets is None else targets.numpy(), np.arange(len(inputs[0])), "dataset", None)


def trace(module: nn.Module) -> fx.GraphModule:
    """The graph of `module`, without the type names that TorchScript would look up."""
    traced = fx.symbolic_trace(module)
    for node in traced.graph.nodes:
        node.type = None
    traced.recompile()
    return traced


def quantized(module: nn.Module, recipe: Recipe, *inputs: Tensor, targets: Tensor | None = None) -> Quantized:
    """`module` after `recipe`, calibrated and trained on `inputs`."""
    samples = samples_of(*inputs, targets=targets)
    with use_engine(recipe.engine):
        return quantize_module(
            trace(module),
            recipe,
            inputs=tuple(tensor[:4] for tensor in inputs),
            calibration=samples if recipe.needs_calibration else None,
            training=samples if recipe.method == "qat" else None,
            on_stage=lambda *_: None,
        )


def sqnr_of(module: nn.Module, result: Quantized, recipe: Recipe, *inputs: Tensor) -> float:
    """SQNR of the outputs of the scripted int8 model, in decibels; infinite if they are the same."""
    noise = Noise()
    with use_engine(recipe.engine), torch.no_grad():
        noise.add(module(*inputs), result.scripted(*inputs))
    return float("inf") if noise.sqnr_db is None else noise.sqnr_db


def methods_of(result: Quantized) -> dict[str, str]:
    """What each layer of the int8 graph runs."""
    paths = [str(node.target) for node in result.int8.graph.nodes if node.op == "call_module"]
    return {path: executed_method(result.int8.get_submodule(path)) for path in paths}

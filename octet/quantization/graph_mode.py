"""FX graph mode quantization, as four verbs: fuse, prepare, convert, and whatever makes the result safe to run."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch.ao.nn.intrinsic.quantized import ConvAdd2d, ConvAddReLU2d
from torch.ao.quantization.backend_config import get_native_backend_config, get_onednn_backend_config
from torch.ao.quantization.quantize_fx import convert_fx, fuse_fx, prepare_fx, prepare_qat_fx

from octet.quantization.exempt import exempt

if TYPE_CHECKING:
    from torch import Tensor
    from torch.ao.quantization import QConfigMapping
    from torch.ao.quantization.backend_config import BackendConfig
    from torch.fx import GraphModule, Node
    from torch.nn import Module

    from octet.recipe import Recipe

SOURCE = "octet_source"
"""Key in a node's meta: which call of which function it was before FX rewrote the graph."""


def backend_config(recipe: Recipe) -> BackendConfig:
    """Which patterns have kernels. oneDNN's own table also fuses conv + add + relu, but not while training."""
    if recipe.engine == "onednn" and recipe.method != "qat":
        return get_onednn_backend_config()
    return get_native_backend_config()


def fuse(module: GraphModule, recipe: Recipe) -> GraphModule:
    """A float copy of `module` with the layers fused that are fused for `recipe`, under the same paths."""
    return fuse_fx(copy.deepcopy(module).eval(), backend_config=backend_config(recipe))


def prepare(module: GraphModule, mapping: QConfigMapping, inputs: tuple[Tensor, ...], recipe: Recipe) -> GraphModule:
    """A copy of `module` with observers in it (fake-quantize modules for QAT), ready to be run on data."""
    training = recipe.method == "qat"
    insert = prepare_qat_fx if training else prepare_fx
    observed = insert(copy.deepcopy(module).train(training), mapping, inputs, backend_config=backend_config(recipe))
    exempt(observed.eval(), inputs)
    observed.train(training)
    calls: Counter[Any] = Counter()
    for node in observed.graph.nodes:
        if node.op == "call_function":
            node.meta[SOURCE] = (node.target, calls[node.target])
            calls[node.target] += 1
        elif node.op == "call_method":
            node.meta[SOURCE] = (node.target, None)
    return observed


def convert(observed: GraphModule, recipe: Recipe) -> GraphModule:
    """The int8 model: `observed` with its observers replaced by kernels. `observed` itself is left as it is."""
    int8 = convert_fx(copy.deepcopy(observed).eval(), backend_config=backend_config(recipe))
    _protect_addends(int8)
    return int8.eval()


def _protect_addends(int8: GraphModule) -> None:
    """Copies the addend of a fused conv + add where something else still needs it.

    oneDNN's kernel adds into the addend's own memory. In a graph where the addend has another reader, or shares its
    memory with a tensor that does, that reader would get the sum instead (torch 2.13, `qconv.cpp`: "sum" post-op).
    """
    order = {node: position for position, node in enumerate(int8.graph.nodes)}
    for node in list(int8.graph.nodes):
        if not isinstance(_called(node, int8), (ConvAdd2d, ConvAddReLU2d)):
            continue
        addend = node.args[1]
        if addend is node.args[0] or not _owns_memory(addend, int8) or _read_after(addend, node, order):
            with int8.graph.inserting_before(node):
                own = int8.graph.call_method("clone", (addend,))
            node.update_arg(1, own)
    int8.recompile()


def _called(node: Node, module: GraphModule) -> Module | None:
    """The module that `node` calls, if it calls one."""
    # Not by named_modules(), which leaves out further names of a module: FX gives a shared ReLU one more.
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _owns_memory(node: Node, module: GraphModule) -> bool:
    """Whether the output of `node` is certainly a new tensor, not a view of its input."""
    if node.op == "call_module":
        return type(_called(node, module)).__module__.startswith("torch.ao.nn")
    return node.target is torch.quantize_per_tensor or str(node.target).startswith("quantized.")


def _read_after(addend: Node, node: Node, order: dict[Node, int]) -> bool:
    return any(order[user] > order[node] for user in addend.users)

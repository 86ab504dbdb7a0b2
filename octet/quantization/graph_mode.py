"""FX graph mode quantization, as four verbs: fuse, prepare, convert, and whatever makes the result safe to run."""

from __future__ import annotations

import copy
import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.ao.nn.intrinsic.quantized import ConvAdd2d, ConvAddReLU2d
from torch.ao.quantization import FakeQuantizeBase, ObserverBase
from torch.ao.quantization.backend_config import BackendConfig, get_native_backend_config, get_onednn_backend_config
from torch.ao.quantization.fx.fuse import fuse as fuse_patterns
from torch.ao.quantization.fx.prepare import prepare as insert_observers
from torch.ao.quantization.quantize_fx import convert_fx, convert_to_reference_fx
from torch.nn import functional

from octet.kernels import STATIC, WEIGHTED
from octet.quantization.engine import reduces_range
from octet.quantization.exempt import exempt
from octet.quantization.float_outputs import ENGINES as FLOAT_ENGINES
from octet.quantization.float_outputs import give_floats
from octet.quantization.full_range import use_all_bits
from octet.quantization.look_ups import make_savable
from octet.quantization.lstms import ObservedLSTM, StaticLSTM, swap_lstms
from octet.quantization.plan import call_unit
from octet.quantization.training.norms import keep_from_zero
from octet.state import kept

if TYPE_CHECKING:
    from torch import Tensor
    from torch.ao.quantization import QConfigMapping
    from torch.fx import GraphModule, Node

    from octet.quantization.plan import Plan, Unit
    from octet.recipe import LayerMethod, Recipe

CALL = "stack_trace"
"""Key in a node's meta: the unit of a plan that a call of a function or method is. It is the only key that FX gives on
to what it puts in the place of a node."""


def backend_config(recipe: Recipe) -> BackendConfig:
    """Which patterns have kernels. oneDNN's own table also fuses conv + add + relu, but not while training.

    Its patterns of a linear layer and a function are left out: FX fails on them, and a program has modules there. Of
    look-ups it asks for signed weights, for which there is no kernel.
    """
    native = get_native_backend_config()
    if recipe.engine != "onednn" or recipe.method == "qat":
        return native
    ours = [config for config in get_onednn_backend_config().configs if config.pattern not in _NOT_ONEDNN]
    look_ups = [config for config in native.configs if config.pattern in _LOOK_UPS]
    return BackendConfig("onednn").set_backend_pattern_configs([*ours, *look_ups])


_LOOK_UPS = (nn.Embedding, nn.EmbeddingBag)
_NOT_ONEDNN = (*_LOOK_UPS, (nn.Linear, functional.leaky_relu), (nn.Linear, torch.tanh))


def fuse(module: GraphModule, plan: Plan, recipe: Recipe) -> GraphModule:
    """A float copy of `module` with the layers fused that are fused under `plan`, under the same paths."""
    return _fused(copy.deepcopy(module).eval(), plan, recipe, training=False)


def prepare(
    module: GraphModule, plan: Plan, mapping: QConfigMapping, inputs: tuple[Tensor, ...], recipe: Recipe
) -> GraphModule:
    """A copy of `module` with observers in it (fake-quantize modules for QAT), ready to be run on data.

    `prepare_fx` would trace the graph again, which not every graph survives and which costs every call its name;
    what it does with the graph is done here to the graph itself.
    """
    training = recipe.method == "qat"
    own = copy.deepcopy(module).train(training)
    if training:
        keep_from_zero(own)
    for node in own.graph.nodes:
        if node.op in {"call_function", "call_method"}:
            node.meta[CALL] = call_unit(node.name)
    fused = _fused(own, plan, recipe, training=training)
    _let_dynamic_layers_give_floats(fused, plan)
    # FX asks for the qconfig of a call by the path of the module that makes it: here, each call is its own.
    scopes = {node.name: (node.meta.get(CALL, ""), type(module)) for node in fused.graph.nodes}
    observed: GraphModule = insert_observers(
        fused, mapping, training, scopes, example_inputs=inputs, backend_config=backend_config(recipe)
    )
    with kept(observed):
        exempt(observed.eval(), inputs)
    _detach(observed, plan)
    return observed.train(training)


def _fused(module: GraphModule, plan: Plan, recipe: Recipe, *, training: bool) -> GraphModule:
    """`module` with its layers fused; it is changed."""
    _keep_apart(module, plan)
    fused: GraphModule = fuse_patterns(module, training, backend_config=backend_config(recipe))
    return fused


def _keep_apart(module: GraphModule, plan: Plan) -> None:
    """Keeps layers from becoming one with what follows them, where not both are static.

    oneDNN's table of patterns does not ask how a layer is done: there is no dynamic linear + tanh, and TorchScript has
    no form of a float conv + add.
    """
    for node in list(module.graph.nodes):
        if node.target not in _ADDITIONS and not isinstance(_called(node, module), (nn.Tanh, nn.LeakyReLU)):
            continue
        unit = str(node.target) if node.op == "call_module" else call_unit(node.name)
        for source in node.all_input_nodes:
            layer = plan.layers.get(str(source.target)) if source.op == "call_module" else None
            if layer is None or layer.module_type.__name__ not in WEIGHTED:
                continue
            if layer.method not in {"static", "qat"} or unit in plan.left_in_float:
                _put_between(source, node)
    module.recompile()


_ADDITIONS = (torch.add, operator.add)


def _put_between(source: Node, node: Node) -> None:
    """Puts a call between `source` and `node`, which reads it, that does nothing and is in none of FX's patterns."""
    with node.graph.inserting_before(node):
        node.replace_input_with(source, node.graph.call_function(torch.ops.aten.alias, (source,)))


def _let_dynamic_layers_give_floats(fused: GraphModule, plan: Plan) -> None:
    """Puts a call between each dynamic layer and a static one that reads it.

    FX takes the two for one chain: it would observe nothing between them, and leave the static layer in float.
    """
    for node in list(fused.graph.nodes):
        if _planned(node, plan) not in {"static", "qat"}:
            continue
        for source in node.all_input_nodes:
            if _planned(source, plan) == "dynamic":
                _put_between(source, node)
    fused.recompile()


def _planned(node: Node, plan: Plan) -> LayerMethod | None:
    """How the layer that `node` calls is to be done, if it calls one."""
    layer = plan.layers.get(str(node.target)) if node.op == "call_module" else None
    return None if layer is None else layer.method


def _detach(observed: GraphModule, plan: Plan) -> None:
    """Keeps whatever stays in float from being lowered all the same.

    FX replaces a call between two quantized tensors by its int8 form even where it has no qconfig
    (`special_pattern_replacement`), unless something stands between the call and its input.
    """
    left = plan.left_in_float
    for node in list(observed.graph.nodes):
        if unit_of(node) not in left or (node.op == "call_module" and not _has_form(node, observed)):
            continue
        for source in node.all_input_nodes:
            if is_observer(source, observed):
                _put_between(source, node)
    observed.recompile()


def _has_form(node: Node, module: GraphModule) -> bool:
    """Whether there is an int8 form of the layer that `node` calls."""
    return type(_called(node, module)).__name__ in STATIC


def unit_of(node: Node) -> Unit | None:
    """What a plan calls the layer or the call of `node`, in the graph that was given or in one made of it."""
    return str(node.target) if node.op == "call_module" else node.meta.get(CALL)


def is_observer(node: Node, module: GraphModule) -> bool:
    """Whether `node` calls an observer, or a module that fakes the rounding."""
    return isinstance(_called(node, module), (ObserverBase, FakeQuantizeBase))


def convert(observed: GraphModule, recipe: Recipe) -> GraphModule:
    """The int8 model: `observed` with its observers replaced by kernels. `observed` itself is left as it is."""
    own = copy.deepcopy(observed).eval()
    swap_lstms(own, StaticLSTM)
    int8 = convert_fx(own, backend_config=backend_config(recipe))
    _protect_addends(int8)
    if recipe.engine == "qnnpack":
        _lay_out_what_is_clamped(int8)
    make_savable(int8)
    if not reduces_range(recipe):
        use_all_bits(int8)
    if recipe.engine in FLOAT_ENGINES:
        give_floats(int8)
    return int8.eval()


def reference(observed: GraphModule, recipe: Recipe) -> GraphModule:
    """What the int8 model of `observed` computes, in floats, with layers in the place of kernels."""
    own = copy.deepcopy(observed).eval()
    swap_lstms(own, ObservedLSTM.to_float)
    floats = convert_to_reference_fx(own, backend_config=backend_config(recipe))
    for node in floats.graph.nodes:
        if node.target is torch.quantize_per_tensor_dynamic:
            node.target = _round
    floats.recompile()
    return floats.eval()


def _round(x: Tensor, *how: Any) -> Tensor:
    """As torch's function, but for a tensor without values: dynamic kernels take one, the function does not."""
    return torch.quantize_per_tensor_dynamic(x, *how) if x.numel() else x


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


def _lay_out_what_is_clamped(int8: GraphModule) -> None:
    """Gives QNNPACK's clamp its input with channels first.

    Its convolutions give channels last. The clamp reads them in that order, and writes into an output that it takes for
    channels first (torch 2.13, `qclamp.cpp`: the output gets the options of the input, but not its memory format).
    """
    for node in list(int8.graph.nodes):
        if node.target is torch.clamp or isinstance(_called(node, int8), nn.Hardtanh):  # ReLU6 is one
            with int8.graph.inserting_before(node):
                node.update_arg(0, int8.graph.call_method("contiguous", (node.args[0],)))
    int8.recompile()


def _called(node: Node, module: GraphModule) -> nn.Module | None:
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

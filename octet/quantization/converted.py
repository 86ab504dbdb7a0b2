"""What became of each layer, read from the int8 graph itself, and its weights before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.ao.nn.intrinsic.modules.fused import _FusedModule

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.fx import GraphModule

_STATIC = ("octet.quantization.lstms", "torch.ao.nn.quantized.modules", "torch.ao.nn.intrinsic.quantized.modules")
_LOOK_UPS = ("torch.ao.nn.quantized.modules.embedding_ops", "octet.quantization.look_ups")
_DYNAMIC = ("torch.ao.nn.quantized.dynamic", "torch.ao.nn.intrinsic.quantized.dynamic", *_LOOK_UPS)


def executed_method(layer: nn.Module) -> Literal["static", "dynamic", "float"]:
    """What kind of kernel `layer`, a module of an int8 graph, runs."""
    homes = [base.__module__ for base in type(layer).__mro__]  # ours stand on torch's
    if any(home.startswith(_DYNAMIC) for home in homes):
        return "dynamic"
    return "static" if any(home.startswith(_STATIC) for home in homes) else "float"


def has_int8(module: GraphModule) -> bool:
    """Whether anything in a graph runs in int8."""
    return any(
        str(node.target).startswith("quantized.") or node.target is torch.quantize_per_tensor
        if node.op == "call_function"
        else node.op == "call_module" and executed_method(module.get_submodule(str(node.target))) != "float"
        for node in module.graph.nodes
    )


def weight_pairs(observed: nn.Module, int8: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Each weight of a layer as it was before conversion, batch norm folded in, and as its int8 form reads back."""
    source = plain(observed)
    return [(getattr(source, name).detach(), weight.dequantize()) for name, weight in _packed(int8).items()]


def _packed(int8: Any) -> dict[str, Tensor]:
    """The packed weights of a layer by their names in the float layer; layer norm has none.

    None either where the engine cannot read back what it packed, as QNNPACK cannot for 3-D convolutions.
    """
    try:
        if hasattr(int8, "get_weight"):
            return dict(int8.get_weight())
        return {"weight": int8.weight()} if callable(getattr(int8, "weight", None)) else {}
    except RuntimeError:
        return {}


def plain(observed: Any) -> Any:
    """The float layer inside a fused one, or that a training one stands for."""
    layer = observed.to_float() if hasattr(observed, "to_float") else observed
    return layer[0] if isinstance(layer, _FusedModule) else layer

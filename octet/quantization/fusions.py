"""Which layers and calls became one kernel, and which batch norms became part of no layer: read off the graphs."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from torch.ao.nn.intrinsic.quantized import ConvAdd2d, ConvAddReLU2d

from octet.quantization.converted import executed_method
from octet.quantization.graph_mode import CALL
from octet.quantization.plan import call_unit
from octet.report import Fusion, LoneNorm

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

    from octet.quantization.rewrite import Rewritten


def fusions_of(rewritten: Rewritten, int8: GraphModule) -> tuple[Fusion, ...]:
    """What became one kernel in `int8`, in the order that it is called.

    A batch norm in the weights of a layer that stayed in float is listed too: those are one kernel as well.
    """
    module, norms = rewritten.module, rewritten.norms
    kernels = {call: node for node in int8.graph.nodes if (call := _call(node))}
    homes: dict[str, str] = {}
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for node in module.graph.nodes:
        call = _source_call(node)
        if call is None:
            continue
        homes[call] = call if call in kernels else _home(node, homes, kernels, int8)
        if call in kernels or _is_int8(kernels.get(homes[call]), int8):
            groups[homes[call]].append((_name(node), _kind(node, module)))
        groups[call] += [
            (path, type(norm).__name__) for path, norm in norms.gone.items() if norms.homes[path] == node.target
        ]
    return tuple(
        Fusion(name=parts[0][0], kind=" + ".join(kind for _, kind in parts), parts=tuple(name for name, _ in parts))
        for parts in groups.values()
        if len(parts) > 1
    )


def lone_norms_of(rewritten: Rewritten) -> tuple[LoneNorm, ...]:
    """The batch norms that stayed layers of their own; a further call of one is not listed again."""
    return tuple(
        LoneNorm(name=path, type=type(rewritten.module.get_submodule(path)).__name__, reason=reason)
        for path, reason in rewritten.norms.lone.items()
        if path not in rewritten.sources
    )


def _home(node: Node, homes: dict[str, str], kernels: dict[str, Node], int8: GraphModule) -> str:
    """The call whose kernel does what `node` did, which has none: one of those that make what it reads."""
    sources = [call for source in node.all_input_nodes if (call := _source_call(source))]
    adding = [call for call in sources if call in kernels and _adds(kernels[call], int8)]
    return next((homes[call] for call in [*adding, *sources]), "")


def _call(node: Node) -> str | None:
    """What a call goes by in any graph made of one: its name as it was, which module calls keep."""
    return node.name if node.op == "call_module" else node.meta.get(CALL)


def _source_call(node: Node) -> str | None:
    """The same, in the graph that the others were made of."""
    return call_unit(node.name) if node.op in {"call_function", "call_method"} else _call(node)


def _is_int8(kernel: Node | None, int8: GraphModule) -> bool:
    if kernel is None:
        return False
    if kernel.op == "call_module":
        return executed_method(int8.get_submodule(str(kernel.target))) != "float"
    return str(kernel.target).startswith("quantized.")


def _adds(kernel: Node, int8: GraphModule) -> bool:
    return kernel.op == "call_module" and isinstance(int8.get_submodule(str(kernel.target)), (ConvAdd2d, ConvAddReLU2d))


def _name(node: Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


def _kind(node: Node, module: GraphModule) -> str:
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))).__name__
    return getattr(node.target, "__name__", str(node.target))

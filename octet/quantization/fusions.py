"""Which layers and calls became one kernel, and which batch norms became part of no layer: read off the graphs."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from torch.ao.nn.intrinsic.quantized import ConvAdd2d, ConvAddReLU2d

from octet.quantization.converted import executed_method
from octet.quantization.graph_mode import unit_of
from octet.quantization.plan import call_unit
from octet.report import Fusion, LoneNorm

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

    from octet.quantization.plan import Unit
    from octet.quantization.rewrite import Rewritten


def fusions_of(rewritten: Rewritten, int8: GraphModule) -> tuple[Fusion, ...]:
    """What became one kernel in `int8`, in the order that it is called.

    A batch norm in the weights of a layer that stayed in float is listed too: those are one kernel as well.
    """
    module, norms = rewritten.module, rewritten.norms
    kernels = {unit: node for node in int8.graph.nodes if (unit := unit_of(node))}
    homes: dict[Unit, Unit] = {}
    groups: dict[Unit, list[tuple[str, str]]] = defaultdict(list)
    for node in module.graph.nodes:
        unit = _unit(node)
        if unit is None:
            continue
        homes[unit] = unit if unit in kernels else _home(node, homes, kernels, int8)
        if unit in kernels or _is_int8(kernels.get(homes[unit]), int8):
            groups[homes[unit]].append((_name(node), _kind(node, module)))
        groups[unit] += [(path, type(norm).__name__) for path, norm in norms.gone.items() if norms.homes[path] == unit]
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


def _home(node: Node, homes: dict[Unit, Unit], kernels: dict[Unit, Node], int8: GraphModule) -> Unit:
    """The unit that `node`, which has no kernel of its own, became part of: one of those that make what it reads."""
    sources = [unit for source in node.all_input_nodes if (unit := _unit(source))]
    adding = [unit for unit in sources if unit in kernels and _adds(kernels[unit], int8)]
    return next((homes[unit] for unit in [*adding, *sources]), "")


def _unit(node: Node) -> Unit | None:
    if node.op == "call_module":
        return str(node.target)
    return call_unit(node.name) if node.op in {"call_function", "call_method"} else None


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

"""Pooling, as the functions that have quantized kernels; as the operator itself where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.program.ops.rows import Rebuild, function, leaf, operator, operators
from octet.program.steps import Expression, Function

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node


def pool(name: str) -> Rebuild:
    """A pooling function with a window; an empty stride in the graph means the window's size."""

    def rebuild(node: Node, _: Graph) -> Expression:
        given = {key: value for key, value in node.args.items() if key != "self" and value is not None}
        stride = node.args.get("stride") or node.required("kernel_size")
        return Function(f"torch.nn.functional.{name}", (node.ref("self"),), {**given, "stride": stride})

    return rebuild


OPS: dict[str, Rebuild] = {
    **{f"{kind}_pool{n}d": pool(f"{kind}_pool{n}d") for kind in ("max", "avg") for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": function(f"torch.nn.functional.adaptive_avg_pool{n}d") for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": function(f"torch.nn.functional.adaptive_avg_pool{n}d") for n in (2, 3)},
    **{f"adaptive_max_pool{n}d": operator(f"adaptive_max_pool{n}d") for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": operator(f"max_pool{n}d_with_indices") for n in (1, 2, 3)},
    **operators("max_unpool2d max_unpool3d"),
    **{f"fractional_max_pool{n}d": leaf(f"fractional_max_pool{n}d") for n in (2, 3)},
}

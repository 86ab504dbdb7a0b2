"""Pooling, padding and resampling, as the functions that have quantized kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.program.ops.rows import Rebuild, function, operator
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


def interpolate(mode: str) -> Rebuild:
    """`upsample_*.vec(input, output_size, [align_corners], scale_factors)`: a size or factors, the other is None."""

    def rebuild(node: Node, _: Graph) -> Expression:
        options = {"size": node.args.get("output_size"), "scale_factor": node.args.get("scale_factors"), "mode": mode}
        if "align_corners" in node.args:
            options["align_corners"] = node.args["align_corners"]
        return Function("torch.nn.functional.interpolate", (node.ref("input"),), options)

    return rebuild


OPS: dict[str, Rebuild] = {
    "max_pool1d": pool("max_pool1d"),
    "max_pool2d": pool("max_pool2d"),
    "max_pool3d": pool("max_pool3d"),
    "avg_pool1d": pool("avg_pool1d"),
    "avg_pool2d": pool("avg_pool2d"),
    "avg_pool3d": pool("avg_pool3d"),
    "adaptive_avg_pool1d": function("torch.nn.functional.adaptive_avg_pool1d"),
    "adaptive_avg_pool2d": function("torch.nn.functional.adaptive_avg_pool2d"),
    "adaptive_avg_pool3d": function("torch.nn.functional.adaptive_avg_pool3d"),
    "adaptive_max_pool1d": operator("adaptive_max_pool1d"),
    "adaptive_max_pool2d": operator("adaptive_max_pool2d"),
    "adaptive_max_pool3d": operator("adaptive_max_pool3d"),
    "pad": function("torch.nn.functional.pad"),
    "upsample_nearest1d.vec": interpolate("nearest"),
    "upsample_nearest2d.vec": interpolate("nearest"),
    "upsample_nearest3d.vec": interpolate("nearest"),
    "upsample_linear1d.vec": interpolate("linear"),
    "upsample_bilinear2d.vec": interpolate("bilinear"),
    "upsample_bicubic2d.vec": interpolate("bicubic"),
}

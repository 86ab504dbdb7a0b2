"""Resizing, padding, sampling on a grid, and moving pixels between channels and places.

A resize comes back as the function that FX knows where engines have a kernel for it, else as the operator itself,
which FX leaves in float.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.program.ops.rows import Rebuild, function, operator, operators
from octet.program.steps import Expression, Function

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node


def resize(mode: str) -> Rebuild:
    """`upsample_*.vec(input, output_size, [align_corners], scale_factors)`: a size or factors, the other is None."""

    def rebuild(node: Node, _: Graph) -> Expression:
        options = {"size": node.args.get("output_size"), "scale_factor": node.args.get("scale_factors"), "mode": mode}
        if "align_corners" in node.args:
            options["align_corners"] = node.args["align_corners"]
        return Function("torch.nn.functional.interpolate", (node.ref("input"),), options)

    return rebuild


def pad(mode: str) -> Rebuild:
    """`reflection_padNd(self, padding)`, `replication_padNd(self, padding)`."""

    def rebuild(node: Node, _: Graph) -> Expression:
        return Function("torch.nn.functional.pad", (node.ref("self"), node.required("padding")), {"mode": mode})

    return rebuild


# After `run_decompositions` the overload is the one with a size and, rarely, scales.
_IN_FLOAT = (
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d",
    "upsample_bicubic2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
    "_upsample_nearest_exact1d.vec", "upsample_nearest1d.vec", "upsample_linear1d.vec", "upsample_bicubic2d.vec",
    "upsample_trilinear3d.vec", "_upsample_bilinear2d_aa.vec", "_upsample_bicubic2d_aa.vec",
)  # fmt: skip

OPS: dict[str, Rebuild] = {
    "upsample_nearest2d.vec": resize("nearest"),
    "upsample_nearest3d.vec": resize("nearest"),
    "_upsample_nearest_exact2d.vec": resize("nearest-exact"),
    "_upsample_nearest_exact3d.vec": resize("nearest-exact"),
    "upsample_bilinear2d.vec": resize("bilinear"),
    **operators(" ".join(_IN_FLOAT)),
    "pad": function("torch.nn.functional.pad"),
    **{f"reflection_pad{n}d": pad("reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d": pad("replicate") for n in (1, 2, 3)},
    **operators("grid_sampler grid_sampler_2d grid_sampler_3d"),
    "affine_grid_generator": operator("affine_grid_generator"),
    "pixel_unshuffle": function("torch.pixel_unshuffle"),
}

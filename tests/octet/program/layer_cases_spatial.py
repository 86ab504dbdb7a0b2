"""Layers over signals, images and volumes, in all their forms."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from layer_forms import Call, Layers, of_dims
from torch import Tensor, nn


def convolutions(dims: int) -> Layers:
    conv, transposed = of_dims("Conv", dims), of_dims("ConvTranspose", dims)
    function, back = getattr(F, f"conv{dims}d"), getattr(F, f"conv_transpose{dims}d")
    window = (slice(0, 1), slice(None), *(slice(0, 2),) * dims)
    return {
        "plain": conv(4, 6, 3),
        "without_bias": conv(4, 6, 3, bias=False),
        "strided": conv(4, 6, 3, stride=2, padding=1),
        "dilated": conv(4, 6, 2, dilation=2, padding=1),
        "grouped": conv(4, 8, 3, groups=2),
        "depthwise": conv(4, 4, 3, groups=4),
        "same": conv(4, 6, 3, padding="same"),
        "same_of_an_even_window": conv(4, 6, 2, padding="same", dilation=3),
        "valid": conv(4, 6, 3, padding="valid"),
        **{mode: conv(4, 6, 3, padding=1, padding_mode=mode) for mode in ("reflect", "replicate", "circular")},
        "circular_same": conv(4, 6, 3, padding="same", padding_mode="circular"),
        "unbatched": Call(lambda x, layer: layer(x[0]), conv(4, 6, 3)),
        "with_a_computed_weight": Call(lambda x: function(x, x[window], padding="same")),
        "transposed": transposed(4, 6, 3),
        "transposed_strided": transposed(4, 6, 3, stride=2, padding=1, output_padding=1),
        "transposed_grouped": transposed(4, 6, 3, groups=2, bias=False),
        "transposed_dilated": transposed(4, 6, 2, dilation=2),
        "transposed_to_a_size": Call(
            lambda x, layer: layer(x, output_size=[2 * size for size in x.shape[2:]]), transposed(4, 6, 3, 2, 1)
        ),
        "transposed_unbatched": Call(lambda x, layer: layer(x[0]), transposed(4, 6, 3)),
        "transposed_with_a_computed_weight": Call(lambda x: back(x, x[0].unsqueeze(1))),
    }


def norms(dims: int) -> Layers:
    batch, instance = of_dims("BatchNorm", dims), of_dims("InstanceNorm", dims)
    last = (12,) if dims == 1 else (6, 6)
    return {
        "batch": batch(4),
        "batch_without_affine": batch(4, affine=False),
        "batch_without_statistics": batch(4, track_running_stats=False),
        "batch_with_nothing": batch(4, affine=False, track_running_stats=False),
        "batch_without_momentum": batch(4, momentum=None),
        "synchronized": nn.SyncBatchNorm(4),
        "instance": instance(4),
        "instance_affine": instance(4, affine=True),
        "instance_with_statistics": instance(4, affine=True, track_running_stats=True),
        "instance_unbatched": Call(lambda x, layer: layer(x[0]), instance(4)),
        "group": nn.GroupNorm(2, 4),
        "group_without_affine": nn.GroupNorm(2, 4, affine=False),
        "layer": nn.LayerNorm(last),
        "rms": nn.RMSNorm(last),
        "local_response": nn.LocalResponseNorm(3),
    }


def pooling(dims: int) -> Layers:
    top, mean = of_dims("MaxPool", dims), of_dims("AvgPool", dims)
    most, average = of_dims("AdaptiveMaxPool", dims), of_dims("AdaptiveAvgPool", dims)
    with_indices, back = top(2, return_indices=True), of_dims("MaxUnpool", dims)(2)
    return {
        "max": top(2),
        "max_strided": top(3, stride=2, padding=1),
        "max_rounded_up": top(4, stride=3, ceil_mode=True),
        "max_dilated": top(2, dilation=2),
        "max_with_indices": with_indices,
        "max_unpooled": Call(lambda x, pool, unpool: unpool(*pool(x)), with_indices, back),
        "max_unpooled_to_a_size": Call(
            lambda x, pool, unpool: unpool(*pool(x), output_size=x.shape), with_indices, back
        ),
        "mean": mean(2),
        "mean_strided": mean(3, stride=2, padding=1),
        "mean_rounded_up": mean(4, stride=3, ceil_mode=True),
        "mean_without_padding": mean(3, stride=2, padding=1, count_include_pad=False),
        "adaptive_mean": average(2),
        "adaptive_max": most(2),
        "adaptive_max_with_indices": most(2, return_indices=True),
        "power": Call(lambda x, layer: layer(x.abs()), of_dims("LPPool", dims)(3, 2, ceil_mode=True)),
        "unbatched": Call(lambda x, *layers: [layer(x[0]) for layer in layers], top(2), mean(2), average(2)),
        **{
            f"padded_{name.lower()}": of_dims(name, dims)(1)
            for name in ("ReflectionPad", "ReplicationPad", "ZeroPad", "CircularPad")
        },
        "padded_with_a_value": of_dims("ConstantPad", dims)(2, 2.5),
        "cropped": of_dims("ConstantPad", dims)(-1, 2.5),
        "padded_by_the_operator": Call(
            lambda x: (
                getattr(torch.ops.aten, f"reflection_pad{dims}d")(x, [1, 2] * dims),
                getattr(torch.ops.aten, f"replication_pad{dims}d")(x, [1, 2] * dims),
                torch.ops.aten.constant_pad_nd(x, [1, 1], 0.5),
            )
        ),
    }


def pooling_of_images() -> Layers:
    def fractional(x: Tensor) -> Tensor:
        return F.fractional_max_pool2d(x, 2, output_size=3, _random_samples=x.new_full((x.size(0), 4, 2), 0.3))

    return {
        "fractional": Call(fractional),
        "adaptive_along_one_axis": nn.AdaptiveAvgPool2d((None, 3)),
        "mean_with_a_divisor": nn.AvgPool2d(2, divisor_override=3),
        "mean_of_an_oblong": nn.AvgPool2d((2, 3), (1, 2), (1, 0)),
        "adaptive_mean_of_the_operator": Call(
            lambda x: (
                torch.ops.aten._adaptive_avg_pool2d(x, [2, 2]),  # noqa: SLF001 - as graphs have it
                torch.ops.aten._adaptive_avg_pool3d(x, [2, 2, 2]),  # noqa: SLF001
            )
        ),
    }


_MODES = {
    1: ("nearest", "nearest-exact", "area", "linear"),
    2: ("nearest", "nearest-exact", "area", "bilinear", "bicubic"),
    3: ("nearest", "nearest-exact", "area", "trilinear"),
}


def resizing(dims: int) -> Layers:
    layers: Layers = {}
    for mode in _MODES[dims]:
        name = mode.replace("-", "_")
        layers[f"{name}_to_a_size"] = nn.Upsample(size=(8,) * dims, mode=mode)
        layers[f"{name}_by_a_factor"] = nn.Upsample(scale_factor=1.5, mode=mode)
        layers[f"{name}_by_the_factor_of_the_sizes"] = nn.Upsample(
            scale_factor=1.5, mode=mode, recompute_scale_factor=True
        )
        if mode.endswith(("linear", "cubic")):
            layers[f"{name}_aligned"] = nn.Upsample(scale_factor=2, mode=mode, align_corners=True)
        if mode != "area":
            layers[f"{name}_of_the_operator"] = Call(partial(_upsample, mode, dims))
    return layers


def _upsample(mode: str, dims: int, x: Tensor) -> Tensor:
    name = "_upsample_nearest_exact" if mode == "nearest-exact" else f"upsample_{mode}"
    corners = () if "nearest" in mode else (False,)
    return getattr(torch.ops.aten, f"{name}{dims}d")(x, [8] * dims, *corners)


def resampling() -> Layers:
    def grid(x: Tensor) -> Tensor:
        return x[:, :2].permute(0, 2, 3, 1)

    return {
        "smoothed": Call(lambda x: F.interpolate(x, size=(3, 3), mode="bilinear", antialias=True)),
        "smoothed_bicubic": Call(lambda x: F.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True)),
        "smoothed_by_the_operator": Call(
            lambda x: (
                torch.ops.aten._upsample_bilinear2d_aa(x, [3, 3], False)  # noqa: SLF001 - as graphs have it
                + torch.ops.aten._upsample_bicubic2d_aa(x, [3, 3], False)  # noqa: SLF001
            )
        ),
        "nearest": nn.UpsamplingNearest2d(scale_factor=2),
        "bilinear": nn.UpsamplingBilinear2d(scale_factor=2),
        "oblong": Call(lambda x: F.interpolate(x, scale_factor=(2.0, 1.5))),
        "to_a_computed_size": Call(lambda x: F.interpolate(x, size=(x.shape[2] * 2, x.shape[3] + x.shape[0]))),
        "on_a_grid": Call(lambda x: F.grid_sample(x, grid(x), align_corners=False)),
        "on_a_grid_nearest": Call(
            lambda x: F.grid_sample(x, grid(x), mode="nearest", padding_mode="border", align_corners=True)
        ),
        "on_a_grid_in_a_volume": Call(
            lambda x: F.grid_sample(
                x.unsqueeze(2), x[:, :3].permute(0, 2, 3, 1).unsqueeze(1), mode="bilinear", align_corners=False
            )
        ),
        "on_an_affine_grid": Call(
            lambda x: F.grid_sample(
                x, F.affine_grid(x[:, 0, :2, :3], list(x.shape), align_corners=False), align_corners=False
            )
        ),
        "pixels_into_places": nn.PixelShuffle(2),
        "pixels_into_channels": nn.PixelUnshuffle(2),
        "channels_shuffled": nn.ChannelShuffle(2),
        "unfolded": nn.Unfold((2, 3), dilation=1, padding=1, stride=2),
        "folded": nn.Sequential(nn.Unfold(3, padding=1, stride=2), nn.Fold((6, 6), 3, padding=1, stride=2)),
        "flattened": nn.Flatten(),
        "unflattened": nn.Unflatten(1, (2, 2)),
        "padded_around": Call(lambda x: F.pad(x, (1, 1, 2, 0), mode="circular")),
        "padded_to_a_multiple": Call(lambda x: F.pad(x, (0, -x.shape[-1] % 4))),
        "padded_truth": Call(lambda x: F.pad(x > 0, (1, 1), value=True)),
    }

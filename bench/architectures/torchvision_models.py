"""torchvision's classification, segmentation and video models: the smallest of each family, on small images."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from architectures.architecture import Architecture, image, normal

if TYPE_CHECKING:
    from collections.abc import Callable

    from architectures.architecture import Maker

# torchvision registers the meaning of its compiled operators when it is imported, and its wheel for CUDA has none that
# load beside a CPU build of torch. No model below calls one; they only have to be there.
_OPERATORS = torch.library.Library("torchvision", "DEF")
_OPERATORS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_OPERATORS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

CLASSIFICATION = (
    "alexnet", "vgg11_bn", "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "googlenet",
    "inception_v3", "squeezenet1_0", "squeezenet1_1", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "efficientnet_v2_s",
    "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny", "swin_t", "swin_v2_t",
)  # fmt: skip
SEGMENTATION = ("fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18", "swin3d_t")
# Theirs is by scipy's truncated normal distribution and takes most of a minute.
OPTIONS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}


def _make(name: str, **options: Any) -> nn.Module:
    from torchvision.models import get_model  # noqa: PLC0415 - seconds that only these rows need

    return get_model(name, **OPTIONS.get(name, {}), **options)


def _vit() -> nn.Module:
    from torchvision.models import VisionTransformer  # noqa: PLC0415

    model = VisionTransformer(64, patch_size=16, num_layers=4, num_heads=4, hidden_dim=128, mlp_dim=256)
    nn.init.normal_(model.heads.head.weight, std=0.02)  # untrained, it is all zeros, and so are the outputs
    return model


def _maxvit() -> nn.Module:
    from torchvision.models import MaxVit  # noqa: PLC0415

    sizes = {"partition_size": 4, "block_channels": [32, 64], "block_layers": [1, 2], "head_dim": 16}
    return MaxVit((64, 64), stem_channels=32, stochastic_depth_prob=0.1, **sizes)


def _mvit() -> nn.Module:
    from torchvision.models.video.mvit import MSBlockConfig, MViT  # noqa: PLC0415

    kernels = {"kernel_q": [3, 3, 3], "kernel_kv": [3, 3, 3]}
    blocks = [
        MSBlockConfig(1, 32, 32, stride_q=[1, 1, 1], stride_kv=[1, 4, 4], **kernels),
        MSBlockConfig(2, 32, 64, stride_q=[1, 2, 2], stride_kv=[1, 2, 2], **kernels),
    ]
    options = {"residual_pool": True, "residual_with_cls_embed": False, "rel_pos_embed": True, "proj_after_attn": True}
    return MViT((32, 32), temporal_size=4, block_setting=blocks, num_classes=10, **options)


def _row(group: str, name: str, make: Callable[[], nn.Module], maker: Maker, argument: str = "x") -> Architecture:
    return Architecture(name, f"torchvision, {group}", make, {argument: maker})


ROWS = (
    *(
        _row("classification", name, partial(_make, name), image(96 if name == "inception_v3" else 64))
        for name in CLASSIFICATION
    ),
    _row("classification", "vit", _vit, image(64)),
    _row("classification", "maxvit", _maxvit, image(64)),
    *(
        _row(
            "segmentation",
            name,
            partial(_make, name, weights_backbone=None),
            image(64),
            "input" if name.startswith("lraspp") else "x",
        )
        for name in SEGMENTATION
    ),
    *(_row("video", name, partial(_make, name), normal(3, 8, 32, 32)) for name in VIDEO),
    _row("video", "mvit", _mvit, normal(3, 4, 32, 32)),
)

"""Layers over rows of features: linear ones, norms, embeddings, activations, losses."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from layer_forms import Call, Layers
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


def linears() -> Layers:
    return {
        "linear": nn.Linear(8, 4),
        "without_bias": nn.Linear(8, 4, bias=False),
        "of_a_vector": Call(lambda x, layer: layer(x[0, 0]), nn.Linear(8, 4)),
        "with_a_computed_weight": Call(lambda x: F.linear(x, x[0])),
        "with_a_vector_for_weight": Call(lambda x: F.linear(x, torch.arange(8.0))),
        "bilinear": Call(lambda x, layer: layer(x, x[..., :3]), nn.Bilinear(8, 3, 4)),
        "bilinear_without_bias": Call(lambda x, layer: layer(x, x), nn.Bilinear(8, 8, 4, bias=False)),
        "bilinear_with_a_computed_weight": Call(lambda x: F.bilinear(x, x, x[0, 0].expand(3, 8, 8))),
        "identity": nn.Sequential(nn.Identity(), nn.Linear(8, 4)),
        "weight_norm": nn.utils.parametrizations.weight_norm(nn.Linear(8, 4)),
        "spectral_norm": nn.utils.parametrizations.spectral_norm(nn.Linear(8, 4)),
    }


def norms_of_rows() -> Layers:
    mean, variance = torch.zeros(8), torch.ones(8)
    return {
        "batch": nn.BatchNorm1d(8),
        "batch_with_computed_statistics": Call(lambda x: F.batch_norm(x, x[0], x[1].abs(), x[0], x[1])),
        "batch_with_a_bias_only": Call(lambda x: F.batch_norm(x, mean, variance, bias=variance)),
        "group": nn.GroupNorm(2, 8),
        "group_with_computed_weights": Call(lambda x: F.group_norm(x, 2, x[0], x[1])),
        "instance_with_computed_weights": Call(lambda x: F.instance_norm(x[:, None], weight=x[0, :1], bias=x[1, :1])),
        "layer": nn.LayerNorm(8),
        "layer_without_bias": nn.LayerNorm(8, bias=False),
        "layer_without_affine": nn.LayerNorm(8, elementwise_affine=False),
        "layer_with_computed_weights": Call(lambda x: F.layer_norm(x, (8,), x[0], x[1])),
        "rms": nn.RMSNorm(8, eps=1e-5),
        "rms_without_affine": nn.RMSNorm(8, elementwise_affine=False),
        "rms_with_a_computed_weight": Call(lambda x: F.rms_norm(x, (8,), x[0])),
        "normalize": Call(lambda x: F.normalize(x, dim=1)),
        "normalize_by_the_largest": Call(lambda x: F.normalize(x, p=float("inf"))),
    }


def embeddings() -> Layers:
    def offsets(x: Tensor, more: int = 0) -> Tensor:
        return torch.arange(0, x.numel() + more, 5)

    bag = nn.EmbeddingBag
    return {
        "plain": nn.Embedding(20, 6),
        "padded": nn.Embedding(20, 6, padding_idx=0),
        "with_greatest_norm": nn.Embedding(20, 6, max_norm=0.5),
        "with_a_computed_weight": Call(lambda x: F.embedding(x, torch.ones(20, 3) * x[0, 0])),
        "bag_mean": bag(20, 6),
        "bag_sum": bag(20, 6, mode="sum", padding_idx=1),
        "bag_max": bag(20, 6, mode="max"),
        "bag_weighted": Call(lambda x, layer: layer(x, per_sample_weights=x.float()), bag(20, 6, mode="sum")),
        "bag_with_offsets": Call(lambda x, layer: layer(x.flatten(), offsets(x)), bag(20, 6)),
        "bag_with_last_offset": Call(
            lambda x, layer: layer(x.flatten(), offsets(x, 1)), bag(20, 6, include_last_offset=True)
        ),
        "bag_with_greatest_norm": bag(20, 6, max_norm=1.0),
        "bag_with_a_computed_weight": Call(lambda x: F.embedding_bag(x, torch.ones(20, 3) * x[0, 0], mode="sum")),
        "bag_of_the_operator": Call(lambda x: torch.ops.aten.embedding_bag(torch.eye(20), x.flatten(), offsets(x))[0]),
        "one_hot": Call(lambda x: F.one_hot(x, 20)),
    }


_ACTIVATIONS = (
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "Mish",
    "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh",
    "Tanhshrink", "Softmax2d", "Dropout", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout",
)  # fmt: skip
_IN_PLACE = ("relu", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "hardswish", "rrelu")


def activations() -> Layers:
    return {
        **{name.lower(): getattr(nn, name)() for name in _ACTIVATIONS},
        "hardtanh_of_whole_numbers": nn.Hardtanh(-2, 2),
        "softplus_of_whole_numbers": nn.Softplus(2, 10),
        "elu_of_a_whole_number": nn.ELU(2),
        "gelu_by_tanh": nn.GELU(approximate="tanh"),
        "threshold": nn.Threshold(0.1, 20.0),
        "softmax": nn.Softmax(dim=1),
        "softmax_in_double": Call(lambda x: F.softmax(x, 1, dtype=torch.float64)),
        "softmax_special": Call(lambda x: torch.special.softmax(x, 1) + torch.special.log_softmax(x, 1)),
        "softmin": nn.Softmin(dim=1),
        "log_softmax": nn.LogSoftmax(dim=-1),
        "glu": nn.GLU(1),
        "prelu_per_channel": nn.PReLU(4),
        "prelu_of_a_number": Call(lambda x: F.prelu(x, torch.tensor(0.3))),
        "prelu_with_a_computed_weight": Call(lambda x: F.prelu(x, x[0, :, 0, 0])),
        "dropout1d": Call(lambda x, layer: layer(x.flatten(2)), nn.Dropout1d()),
        **{
            f"{kind.__name__}_in_place": Call(lambda x, layer: layer(x * 2), kind(inplace=True))
            for kind in (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
        },
        "dropout3d": Call(lambda x, layer: layer(x.unsqueeze(2)), nn.Dropout3d()),
        "dropout_of_features": Call(lambda x: torch.feature_dropout(x[None, None], 0.5, train=False)),
        **{f"{name}_in_place": Call(partial(_in_place, name)) for name in _IN_PLACE},
    }


def _in_place(name: str, x: Tensor) -> Tensor:
    return getattr(F, name)(x + 1, inplace=True)


_LOSSES = ("l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "hinge_embedding_loss", "kl_div")


def losses() -> Layers:
    def label(x: Tensor) -> Tensor:
        return x.argmax(1) % 4

    def sign(x: Tensor) -> Tensor:
        return (x > 0).float()

    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "cross_entropy": lambda x: F.cross_entropy(x, label(x)),
        "cross_entropy_smoothed": lambda x: F.cross_entropy(x, label(x), label_smoothing=0.1, reduction="none"),
        "cross_entropy_of_odds": lambda x: F.cross_entropy(x, x.softmax(1)),
        "nll": lambda x: F.nll_loss(F.log_softmax(x, 1), label(x), reduction="none"),
        "binary": lambda x: F.binary_cross_entropy(x.sigmoid(), sign(x)),
        "binary_of_logits": lambda x: F.binary_cross_entropy_with_logits(x, sign(x), pos_weight=torch.arange(8.0)),
        "poisson": lambda x: F.poisson_nll_loss(x, x.abs() * 3, full=True),
        "multi_margin": lambda x: F.multi_margin_loss(x, label(x)),
        "multi_label_margin": lambda x: F.multilabel_margin_loss(x, torch.zeros_like(x).long()),
        "multi_label_soft_margin": lambda x: F.multilabel_soft_margin_loss(x, sign(x)),
        "margin_ranking": lambda x: F.margin_ranking_loss(x, x * 2, torch.ones_like(x)),
        "triplet": lambda x: F.triplet_margin_loss(x, x + 1, x - 2, swap=True),
        "triplet_with_a_distance": lambda x: F.triplet_margin_with_distance_loss(x, x + 1, x - 2),
        "cosine_embedding": lambda x: F.cosine_embedding_loss(x, x + 1, x.new_ones(x.shape[0])),
    }
    return {
        **{name: Call(partial(_loss, name)) for name in _LOSSES},
        **{name: Call(function) for name, function in functions.items()},
        "cosine": Call(lambda x, layer: layer(x, x + 1), nn.CosineSimilarity(eps=1e-4)),
        "pairwise": Call(lambda x, layer: layer(x, x * 2), nn.PairwiseDistance(p=1, keepdim=True)),
        "distances": Call(lambda x: torch.cdist(x, x * 2, p=1)),
        "adaptive_softmax": Call(
            lambda x, layer: layer.log_prob(x), nn.AdaptiveLogSoftmaxWithLoss(8, 10, [2, 6], div_value=2.0)
        ),
    }


def _loss(name: str, x: Tensor) -> Tensor:
    return getattr(F, name)(x, x.sigmoid() * 2, reduction="sum")

"""Losses, of models that return theirs. None has a quantized kernel."""

from __future__ import annotations

from octet.program.ops.rows import Rebuild, operators

OPS: dict[str, Rebuild] = operators(
    "l1_loss mse_loss smooth_l1_loss huber_loss cross_entropy_loss nll_loss_nd kl_div poisson_nll_loss "
    "binary_cross_entropy binary_cross_entropy_with_logits hinge_embedding_loss cosine_embedding_loss "
    "soft_margin_loss margin_ranking_loss multi_margin_loss multilabel_margin_loss triplet_margin_loss"
)

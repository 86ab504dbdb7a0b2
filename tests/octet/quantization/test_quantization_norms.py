"""Batch norms folded into the layers before them: where that computes the same, and where it would not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import quantized, recipe_of, sqnr_of, trace
from torch import Tensor, nn
from torch.nn import functional

from octet.quantization.rewrite import rewrite
from octet.quantization.shapes import shapes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from octet.quantization.norms import Norms


class Folding(nn.Module):
    """A layer, what stands between, and a batch norm with statistics of its own."""

    def __init__(self, layer: nn.Module, norm: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.layer, self.norm, self.function = layer, norm, function
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 2.0)
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Whatever the function does."""
        return self.function(x, self.layer, self.norm)


def behind(*moves: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """The layer, these moves, the norm."""

    def function(x: Tensor, layer: nn.Module, norm: nn.Module) -> Tensor:
        x = layer(x)
        for move in moves:
            x = move(x)
        return norm(x)

    return function


LINEAR, IMAGE, SEQUENCE = (lambda: nn.Linear(8, 6)), (lambda: nn.Conv2d(3, 6, 3)), (4, 6, 8)
BN1, BN2 = (lambda: nn.BatchNorm1d(6)), (lambda: nn.BatchNorm2d(6))
PICTURES = (4, 3, 8, 8)

LEGAL: dict[str, tuple[Any, Any, Callable[..., Tensor], tuple[int, ...]]] = {
    "linear": (LINEAR, BN1, behind(), (4, 8)),
    "linear, steps last": (LINEAR, BN1, behind(lambda y: y.transpose(1, 2)), SEQUENCE),
    "linear, steps in the batch": (LINEAR, BN1, behind(lambda y: y.reshape(-1, 6)), SEQUENCE),
    "linear of pictures": (LINEAR, BN2, behind(lambda y: y.permute(0, 3, 1, 2)), (4, 5, 3, 8)),
    "conv flattened behind": (IMAGE, BN1, behind(lambda y: torch.flatten(y, 2)), PICTURES),
    "conv squeezed": (lambda: nn.Conv2d(3, 6, 8), BN1, behind(lambda y: torch.flatten(y, 1)), PICTURES),
    "conv averaged": (IMAGE, BN2, behind(lambda y: functional.avg_pool2d(y, 2)), PICTURES),
    "conv pooled": (IMAGE, BN2, behind(lambda y: functional.adaptive_avg_pool2d(y, 1)), PICTURES),
    "transposed conv in groups": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), BN2, behind(), (4, 4, 8, 8)),
    "no weight of its own": (lambda: nn.Linear(8, 6, bias=False), lambda: nn.BatchNorm1d(6, affine=False), behind(),
        (4, 8)),
    "called twice": (lambda: nn.Conv2d(6, 6, 1), BN2, lambda x, layer, norm: norm(layer(norm(layer(x)))), (4, 6, 5, 5)),
}  # fmt: skip

ILLEGAL: dict[str, tuple[Any, Any, Callable[..., Tensor], tuple[int, ...], str]] = {
    "linear over the steps": (LINEAR, BN1, behind(), SEQUENCE, "its channels are not those of 'layer'"),
    "conv without a batch": (lambda: nn.Conv1d(3, 6, 3), BN1, behind(), (6, 3, 8)[1:], "its channels are not those"),
    "zeros averaged in": (
        IMAGE, BN2, behind(lambda y: functional.avg_pool2d(y, 3, 2, 1)), PICTURES, "between it and 'layer'",
    ),
    "channels cut": (
        lambda: nn.Conv2d(3, 12, 3), BN2, behind(lambda y: y.reshape(8, 6, 6, 6)), PICTURES, "between it and 'layer'",
    ),
    "relu": (IMAGE, BN2, behind(functional.relu), PICTURES, "it cannot be moved past `relu`"),
    "two readers": (
        IMAGE, BN2, lambda x, layer, norm: norm(y := layer(x)) + y, PICTURES, "more than one call reads what 'layer'",
    ),
    "of the input": (
        lambda: nn.Conv2d(6, 6, 3), BN2, lambda x, layer, norm: layer(norm(x)), (4, 6, 8, 8), "nothing before it",
    ),
}  # fmt: skip


def rewritten(case: tuple[Any, ...], method: str) -> tuple[Norms, Tensor, Tensor]:
    """What became of the norm, and what the model gives before and after."""
    torch.manual_seed(0)
    layer, norm, function, shape, *_ = case
    model, x = Folding(layer(), norm(), function).eval(), torch.randn(shape)
    graph = trace(model)
    found = rewrite(graph, recipe_of(method), shapes_of(graph, (x,)))
    return found.norms, model(x), found.module(x)


@pytest.mark.parametrize("case", LEGAL)
@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_a_norm_is_folded_where_that_computes_the_same(case: str, method: str) -> None:
    norms, before, after = rewritten(LEGAL[case], method)
    assert norms.homes["norm"] == "layer"
    assert not norms.lone
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", LEGAL)
def test_what_qat_cannot_train_as_one_layer_is_folded_before_it(case: str) -> None:
    norms, before, after = rewritten(LEGAL[case], "qat")
    assert ("norm" in norms.homes) is (case not in {"linear", "called twice"})
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ILLEGAL)
@pytest.mark.parametrize("method", ["static", "qat"])
def test_a_norm_is_left_alone_where_that_would_compute_something_else(case: str, method: str) -> None:
    norms, before, after = rewritten(ILLEGAL[case], method)
    assert not norms.homes
    assert ILLEGAL[case][-1] in norms.lone["norm"]
    torch.testing.assert_close(after, before)


def test_fx_does_not_fold_what_must_not_be_either() -> None:
    torch.manual_seed(0)
    layer, norm, function, shape, _ = ILLEGAL["linear over the steps"]
    model, inputs = Folding(layer(), norm(), function).eval(), torch.randn(32, *shape[1:])
    for method in ("static", "dynamic"):
        recipe = recipe_of(method)
        result = quantized(model, recipe, inputs)
        (lone,) = result.lone_norms
        assert (lone.name, lone.type, lone.reason) == ("norm", "BatchNorm1d", "its channels are not those of 'layer'")
        assert sqnr_of(model, result, recipe, inputs) > 25

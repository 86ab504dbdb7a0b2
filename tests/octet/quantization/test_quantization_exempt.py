"""Masks, and other values that eight bits cannot hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from quantizing import quantized, recipe_of, sqnr_of
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

LOWEST = torch.finfo(torch.float32).min
MASKS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "added": lambda scores, keep: torch.add(torch.mul(1.0 - keep.float(), -1e9), scores),
    "lowest float added": lambda scores, keep: torch.add(scores, torch.mul(1.0 - keep.float(), LOWEST)),
    "multiplied": lambda scores, keep: torch.mul(scores, keep.float()) - torch.mul(1 - keep, 1e9),
    "filled": lambda scores, keep: torch.masked_fill(scores, keep == 0, float("-inf")),
    "chosen": lambda scores, keep: torch.where(keep > 0, scores, LOWEST),
}


class Masked(nn.Module):
    """Attention over [batch, length, 16] that leaves out the keys whose `keep`, an integer, is 0."""

    def __init__(self, mask: str) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.mask = MASKS[mask]

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        scores = torch.matmul(self.query(x), self.key(x).transpose(1, 2))
        probabilities = torch.softmax(self.mask(scores, keep.unsqueeze(1)), -1)
        return self.out(torch.matmul(probabilities, self.value(x)))


class HiddenScores(nn.Module):
    """Gives -inf where nothing may be chosen, with no softmax to tell that it is a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(8, 4), nn.Linear(4, 4)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, 0.0, float("-inf")]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.out(self.fc(x)), self.mask)[:, :3]


@pytest.mark.parametrize("engine", ["x86", "onednn"])
@pytest.mark.parametrize("method", ["static", "qat"])
@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_does_not_cost_the_scores_their_precision(mask: str, method: str, engine: str) -> None:
    torch.manual_seed(0)
    model, recipe = Masked(mask).eval(), recipe_of(method, engine)
    inputs = torch.randn(32, 9, 16), (torch.arange(9) < 6).long().expand(32, 9).contiguous()
    result = quantized(model, recipe, *inputs)
    assert sqnr_of(model, result, recipe, *inputs) > 25
    assert any("softmax" in warning for warning in result.plan.warnings)


def test_an_infinity_takes_no_part_in_any_range() -> None:
    model, inputs, recipe = HiddenScores().eval(), torch.randn(32, 8), recipe_of("static")
    assert sqnr_of(model, quantized(model, recipe, inputs), recipe, inputs) > 25

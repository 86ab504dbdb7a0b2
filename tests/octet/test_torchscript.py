# ruff: noqa: SLF001 - the fault is in torch's private parts
from __future__ import annotations

import torch
from torch import nn

from octet import torchscript


def test_an_attribute_at_the_address_of_a_builtin_that_is_gone_is_not_taken_for_it() -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1)
    torch.jit._builtins._get_builtin_table()[id(conv._reversed_padding_repeated_twice)] = "aten::gcd"
    scripted = torchscript.script(nn.Sequential(conv))
    assert torch.equal(scripted(torch.ones(1, 1, 4, 4)), conv(torch.ones(1, 1, 4, 4)))


def test_what_is_saved_is_frozen_and_computes_the_same() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    inputs = torch.randn(2, 3, 8, 8)
    frozen = torchscript.as_saved(torchscript.script(model))
    assert not list(frozen.named_parameters())  # they are constants of its code
    torch.testing.assert_close(frozen(inputs), model(inputs))


def test_what_changes_as_it_runs_is_not_frozen() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("_state_calls", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self._state_calls.add_(1)

    scripted = torch.jit.script(Counter().eval())
    assert torchscript.as_saved(scripted) is scripted

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

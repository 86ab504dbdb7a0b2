"""A small model, and calls to put into its file: what attacks are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pt2 import Document


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        self.register_buffer("table", torch.zeros(4, dtype=torch.int32))
        self.scale = torch.nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(x + self.table)) * self.scale


def call_of(target: str, source: str, result: str, **metadata: str) -> Document:
    argument = {"name": "self", "arg": {"as_tensor": {"name": source}}, "kind": 1}
    return {"target": target, "inputs": [argument], "outputs": [{"as_tensor": {"name": result}}], "metadata": metadata}


def made(target: str, source: str, result: str, *arguments: tuple[str, Document]) -> Document:
    call = call_of(f"torch.ops.aten.{target}", source, result)
    call["inputs"] += [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments]
    return call

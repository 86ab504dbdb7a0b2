"""Models whose graphs were changed by hand to use up what there is; the bench of faults takes them from here too."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Loop(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(40):
            x = torch.relu(x)
        return x


def rewritten(source: Path, path: Path, change: Callable[[dict[str, Any], int], None]) -> Path:
    """A `.pt2` in which each call was changed by hand, given its place; torch.export would have refused to make it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("models/model.json"):
                document = json.loads(data)
                for at, node in enumerate(document["graph_module"]["graph"]["nodes"]):
                    change(node, at)
                data = json.dumps(document).encode()
            new.writestr(name, data)
    return path


def double(node: dict[str, Any], _: int) -> None:
    """Twice as large after each call: 16 GiB after 30 of them."""
    node["target"] = "torch.ops.aten.cat.default"
    value = node["inputs"][0]["arg"]["as_tensor"]
    node["inputs"] = [{"name": "tensors", "arg": {"as_tensors": [value, value]}, "kind": 1}]


def grow_and_multiply(node: dict[str, Any], at: int) -> None:
    """A matrix of 8192 x 8192, then its products with itself: minutes of work."""
    value = {"name": "self", "arg": node["inputs"][0]["arg"], "kind": 1}
    if at == 0:
        size = {"name": "size", "arg": {"as_ints": [8192, 8192]}, "kind": 1}
        fill = {"name": "fill_value", "arg": {"as_float": 1.0}, "kind": 1}
        node.update(target="torch.ops.aten.new_full.default", inputs=[value, size, fill])
    else:
        node.update(target="torch.ops.aten.matmul.default", inputs=[value, {**value, "name": "other"}])

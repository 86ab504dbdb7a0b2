"""The models that the faults' jobs are about: a tiny one, large ones, and two that mean harm."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import torch

import octet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LARGE = 2048  # inputs and outputs of a layer of float32: 16 MiB


class _Calls(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(40):
            x = torch.relu(x)
        return x


def make(folder: Path) -> dict[str, Path]:
    """The `.pt2` of each, by name."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    tiny = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU())
    paths = {"tiny": octet.export(tiny, (torch.randn(2, 16),), folder / "tiny.pt2")}
    for name in ("large-0", "large-1", "large-2"):
        large = torch.nn.Linear(_LARGE, _LARGE)
        paths[name] = octet.export(large, (torch.randn(2, _LARGE),), folder / f"{name}.pt2")
    calls = octet.export(_Calls(), (torch.randn(2, 16),), folder / "calls.pt2")
    paths["exhausts"] = _rewritten(calls, folder / "exhausts.pt2", _double)
    paths["hangs"] = _rewritten(calls, folder / "hangs.pt2", _grow_and_multiply)
    return paths


def _rewritten(source: Path, path: Path, change: Callable[[dict[str, Any], int], None]) -> Path:
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


def _double(node: dict[str, Any], _: int) -> None:
    """Twice as large after each call."""
    node["target"] = "torch.ops.aten.cat.default"
    value = node["inputs"][0]["arg"]["as_tensor"]
    node["inputs"] = [{"name": "tensors", "arg": {"as_tensors": [value, value]}, "kind": 1}]


def _grow_and_multiply(node: dict[str, Any], at: int) -> None:
    """A matrix of 8192 x 8192, then its products with itself: minutes of work."""
    value = {"name": "self", "arg": node["inputs"][0]["arg"], "kind": 1}
    if at == 0:
        size = {"name": "size", "arg": {"as_ints": [8192, 8192]}, "kind": 1}
        fill = {"name": "fill_value", "arg": {"as_float": 1.0}, "kind": 1}
        node.update(target="torch.ops.aten.new_full.default", inputs=[value, size, fill])
    else:
        node.update(target="torch.ops.aten.matmul.default", inputs=[value, {**value, "name": "other"}])

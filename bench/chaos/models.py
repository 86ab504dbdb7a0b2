"""The models that the faults' jobs are about: a tiny one, large ones, and two that mean harm."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import octet

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "worker"))
from devouring import Loop, double, grow_and_multiply, rewritten  # the tests send the same

_LARGE = 2048  # inputs and outputs of a layer of float32: 16 MiB


def make(folder: Path) -> dict[str, Path]:
    """The `.pt2` of each, by name."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    tiny = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU())
    paths = {"tiny": octet.export(tiny, (torch.randn(2, 16),), folder / "tiny.pt2")}
    for name in ("large-0", "large-1", "large-2"):
        large = torch.nn.Linear(_LARGE, _LARGE)
        paths[name] = octet.export(large, (torch.randn(2, _LARGE),), folder / f"{name}.pt2")
    calls = octet.export(Loop(), (torch.randn(2, 16),), folder / "calls.pt2")
    paths["exhausts"] = rewritten(calls, folder / "exhausts.pt2", double)
    paths["hangs"] = rewritten(calls, folder / "hangs.pt2", grow_and_multiply)
    return paths

"""TorchScript, in one place: the form in which models are timed and saved.

TorchScript is deprecated, but it is what runs a quantized model with torch alone; torch is pinned for that reason.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import cast

import torch


def script(module: torch.nn.Module) -> torch.jit.ScriptModule:
    """`module` in eval mode as TorchScript."""
    return cast("torch.jit.ScriptModule", torch.jit.script(module.eval()))


def freeze(scripted: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """`scripted` with its weights folded in as constants, which lets torch fold batch norms and drop dead branches."""
    return cast("torch.jit.ScriptModule", torch.jit.freeze(scripted))


def optimize(frozen: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """`frozen` after torch's own passes for this CPU: oneDNN weight layouts and fused element-wise operations."""
    return torch.jit.optimize_for_inference(frozen)


def save(scripted: torch.jit.ScriptModule, path: Path) -> None:
    """Writes `scripted` where `torch.jit.load` finds it."""
    torch.jit.save(scripted, str(path))


def saved_bytes(scripted: torch.jit.ScriptModule) -> int:
    """The size of `scripted` as a file, in bytes."""
    with tempfile.TemporaryDirectory(prefix="octet-") as folder:
        path = Path(folder) / "model.pt"
        save(scripted, path)
        return path.stat().st_size

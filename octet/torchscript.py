"""TorchScript, in one place: the form in which models are timed and saved.

TorchScript is deprecated, but it is what runs a quantized model with torch alone; torch is pinned for that reason.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import cast

import torch

from octet.errors import InvalidModelError

MAX_REASON = 500
"""Characters of the compiler's words that are passed on: it quotes the code."""


def script(module: torch.nn.Module) -> torch.jit.ScriptModule:
    """`module` in eval mode as TorchScript.

    Raises:
        InvalidModelError: If TorchScript has no form for what the graph says.
    """
    _forget_dead_builtins(module)
    try:
        return cast("torch.jit.ScriptModule", torch.jit.script(module.eval()))
    except Warning:
        raise
    except Exception as error:  # the compiler raises nearly every kind
        reason = str(error).strip()[:MAX_REASON] or type(error).__name__
        raise InvalidModelError(f"The model cannot be compiled to TorchScript: {reason}") from error


def _forget_dead_builtins(module: torch.nn.Module) -> None:
    """Keeps TorchScript from taking an attribute for a builtin function.

    torch knows builtins by their `id()` alone and does not keep them alive. Once one is gone, as happens when torch
    refreshes an operator, its id may come to be that of a list such as a convolution's padding; in one process of forty
    or so compiling failed with "builtin cannot be used as a value". What is not callable is no builtin, so an entry
    under its id is of one that is gone.
    """
    builtins = torch.jit._builtins._get_builtin_table()  # type: ignore[no-untyped-call]  # noqa: SLF001 - no public way
    for part in module.modules():
        for value in vars(part).values():
            if not callable(value):
                builtins.pop(id(value), None)


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

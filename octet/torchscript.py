"""TorchScript, in one place: the form in which models are timed and saved.

TorchScript is deprecated, but it is what runs a quantized model with torch alone; torch is pinned for that reason.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import fx

from octet.errors import InvalidModelError
from octet.state import has_state

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REASON = 500
"""Characters of the compiler's words that are passed on: it quotes the code."""


def script(module: torch.nn.Module) -> torch.jit.ScriptModule:
    """`module` in eval mode as TorchScript.

    Raises:
        InvalidModelError: If TorchScript has no form for what the graph says; says for which call.
    """
    _forget_dead_builtins(module)
    try:
        return cast("torch.jit.ScriptModule", torch.jit.script(module.eval()))
    except Warning:
        raise
    except Exception as error:  # the compiler raises nearly every kind
        reason = str(error).strip()[:MAX_REASON] or type(error).__name__
        where = f" at {call}" if isinstance(module, fx.GraphModule) and (call := _first_refused(module)) else ""
        raise InvalidModelError(f"The model cannot be compiled to TorchScript{where}: {reason}") from error


def _first_refused(module: fx.GraphModule) -> str | None:
    """The call of a graph from which on it does not compile, as the source has it; found by halving."""
    nodes = [node for node in module.graph.nodes if node.op != "output"]
    compiles, fails = 0, len(nodes)
    if not nodes or _compiles(module, nodes):
        return None
    while fails - compiles > 1:
        middle = (compiles + fails) // 2
        compiles, fails = (middle, fails) if _compiles(module, nodes[:middle]) else (compiles, middle)
    node = nodes[fails - 1]
    return str(node.meta.get("call") or node.target)


def _compiles(module: fx.GraphModule, nodes: Sequence[fx.Node]) -> bool:
    """Whether the graph of the first `nodes`, of which it returns the last, compiles."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[nodes[-1]])
    try:
        torch.jit.script(fx.GraphModule(module, graph))
    except Warning:
        raise
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


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


def as_saved(scripted: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """`scripted` in the form that artifacts have: frozen, which is faster and smaller, unless it changes as it runs."""
    if has_state(scripted):
        return scripted
    try:
        return freeze(scripted)
    except RuntimeError:  # torch cannot freeze every module: it is saved as it is then
        return scripted


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

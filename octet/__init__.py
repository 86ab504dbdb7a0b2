"""Octet turns a PyTorch model into an int8 one and proves what the change did.

Names that need torch are loaded when they are first used, so that `import octet` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from octet.dataset import Dataset, read_dataset
from octet.errors import OctetError
from octet.program import Program, load
from octet.progress import Progress
from octet.recipe import Recipe
from octet.report import Report
from octet.version import __version__

if TYPE_CHECKING:
    from octet.export import export
    from octet.pipeline import Result, quantize

__all__ = [
    "Dataset",
    "OctetError",
    "Program",
    "Progress",
    "Recipe",
    "Report",
    "Result",
    "__version__",
    "export",
    "load",
    "quantize",
    "read_dataset",
]

_NEEDS_TORCH = {"export": "octet.export", "quantize": "octet.pipeline", "Result": "octet.pipeline"}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(import_module(_NEEDS_TORCH[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

"""Octet turns a PyTorch model into an int8 one and proves what the change did.

Names that need torch are loaded when they are first used, so that `import octet` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from octet.data.dataset import Dataset, read_dataset
from octet.errors import MissingDependencyError, OctetError
from octet.program import Program, load
from octet.progress import Progress
from octet.recipe import Recipe
from octet.report import Report
from octet.version import __version__

if TYPE_CHECKING:
    from octet.exporting import export
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

# No module may bear a name of this table: importing it would hide the function.
_NEEDS_TORCH = {"export": "octet.exporting", "quantize": "octet.pipeline", "Result": "octet.pipeline"}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        try:
            return getattr(import_module(_NEEDS_TORCH[name]), name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise MissingDependencyError(
                f"octet.{name} needs torch, which is not installed.", hint="Run: pip install 'octet[engine]'"
            ) from None
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

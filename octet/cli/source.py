"""The user's own model, out of the user's own code. The one place that imports a file it is given."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from octet.errors import ExportFailedError

if TYPE_CHECKING:
    import torch

    from octet.exporting.axes import DynamicAxes

_AXIS = r"(?:[A-Za-z_]\w*=)?\d+"
_EXAMPLE = re.compile(rf"(?:(?P<name>[A-Za-z_]\w*):)?(?P<shape>{_AXIS}(?:x{_AXIS})*)(?::(?P<dtype>\w+))?")
_AXES = re.compile(r"(?:([A-Za-z_]\w*)=)?(\d+)x?")


def load_module(source: str) -> torch.nn.Module:
    """The module that `source` names, or the one that its function makes.

    Args:
        source: `FILE.py:NAME`. The file is run, as `python FILE.py` would with another `__name__`.

    Raises:
        ExportFailedError: If there is no such file or name, or it is no module.
    """
    from torch import nn  # noqa: PLC0415 - commands that need no torch must not wait for it

    file, _, name = source.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise ExportFailedError(
            f"There is no file {file!r}.", hint="Say FILE.py:NAME, for example train.py:make_model."
        )
    found = getattr(_run(path), name, None)
    if callable(found) and not isinstance(found, nn.Module):
        found = found()
    if not isinstance(found, nn.Module):
        raise ExportFailedError(
            f"{name} in {path} is neither a module nor a function that makes one.", hint="Name a torch.nn.Module."
        )
    return found


def example_inputs(texts: list[str]) -> tuple[list[torch.Tensor] | dict[str, torch.Tensor], DynamicAxes]:
    """The example inputs that `texts` describe, by position or by name, and the axes that they leave open.

    Each is `[NAME:]SHAPE[:DTYPE]`, such as `1x3x224x224` (float32) or `ids:1xlength=128:int64`: normal noise, or zeros
    where numbers are not real. An axis written `NAME=SIZE` is open.

    Raises:
        ExportFailedError: If one is of another form, or only some are named.
    """
    examples = [_example(text) for text in texts]
    axes: DynamicAxes = {name or position: axes for position, (name, _, axes) in enumerate(examples)}
    names = [name for name, _, _ in examples if name]
    if not names:
        return [tensor for _, tensor, _ in examples], axes
    if len(set(names)) != len(examples):
        raise ExportFailedError("Some example inputs have no name of their own.", hint="Name each of them, or none.")
    return {name: tensor for name, tensor, _ in examples}, axes


def _example(text: str) -> tuple[str, torch.Tensor, dict[int, str]]:
    """Name, tensor and open axes of one example."""
    import torch  # noqa: PLC0415 - as above

    match = _EXAMPLE.fullmatch(text)
    dtype = getattr(torch, (match and match["dtype"]) or "float32", None)
    if match is None or not isinstance(dtype, torch.dtype):
        raise ExportFailedError(
            f"{text!r} is not an example input.",
            hint="Say [NAME:]SHAPE[:DTYPE], such as 1x3x224x224 or ids:1xlength=128:int64.",
        )
    axes = _AXES.findall(match["shape"])
    shape = [int(size) for _, size in axes]
    tensor = torch.randn(shape, dtype=dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)
    return match["name"] or "", tensor, {axis: label for axis, (label, _) in enumerate(axes) if label}


def _run(path: Path) -> object:
    """The file as an imported module, with its folder on the path, as Python does for a script."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ExportFailedError(f"{path} is not a Python file.", hint="Say FILE.py:NAME.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[path.stem] = module  # as an import would: dataclasses and pickles of the file's classes look there
    spec.loader.exec_module(module)
    return module

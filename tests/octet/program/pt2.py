"""Takes a `.pt2` apart and puts it together again, changed."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = "model/models/model.json"
WEIGHTS_CONFIG = "model/data/weights/model_weights_config.json"
CONSTANTS_CONFIG = "model/data/constants/model_constants_config.json"

Document = dict[str, Any]


def entries(path: Path) -> dict[str, bytes]:
    """The archive's entries by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip archive with these entries."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def changed(source: Path, path: Path, entry: str, change: Callable[[Document], None]) -> Path:
    """`source` with one JSON entry changed, as `path`."""
    content = entries(source)
    document = json.loads(content[entry])
    change(document)
    content[entry] = json.dumps(document).encode()
    return write(path, content)


def nodes(document: Document) -> list[Document]:
    """The calls of a model document."""
    return document["graph_module"]["graph"]["nodes"]

"""Directories that a job may write to, however it leaves them."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def remove(directory: Path) -> None:
    """Remove it with all that is in it: directories that are closed, or nested deeper than Python can follow, too."""
    with suppress(RecursionError):
        shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        subprocess.run(["chmod", "-R", "u+rwX", directory], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["rm", "-rf", directory], stderr=subprocess.DEVNULL, check=False)

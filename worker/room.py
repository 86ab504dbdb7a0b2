"""Room for jobs on the disk that their scratch directories are on."""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING

from worker.usage import TooMuch, on_disk

if TYPE_CHECKING:
    from worker.process import Child

LEAST_BYTES = 64 * 2**20
"""Below this the smallest job may come to grief, whatever it does."""


def is_scarce(child: Child | None = None) -> bool:
    """Whether there is next to no room, and would be none either without what the child has written."""
    try:
        free = shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:  # the directory is gone, and the disk maybe
        return True
    if child is None or free >= LEAST_BYTES:
        return free < LEAST_BYTES
    try:
        return free + on_disk(child) < LEAST_BYTES
    except TooMuch:
        return False

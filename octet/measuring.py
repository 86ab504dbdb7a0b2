"""One measurement at a time per machine: two at once would time each other. Free of torch."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK_FILE = Path(tempfile.gettempdir()) / "octet-measure.lock"


@contextmanager
def measuring_alone(on_wait: Callable[[], None]) -> Iterator[None]:
    """Waits for the machine's one measuring slot and holds it; the kernel frees it if the process dies.

    The slot is an advisory lock on `octet-measure.lock` in the temporary directory. It is opened for reading, so
    that processes of different users share it.

    Args:
        on_wait: Called once if the slot is taken.
    """
    try:
        descriptor = os.open(LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        descriptor = os.open(LOCK_FILE, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

"""Directories that jobs may write to: the slots' own, in which each job has one, however it leaves it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_PREFIX = "octet-jobs-"
_YOUNG = 60.0  # seconds in which one that was made surely has been locked


class Home:
    """A new directory for a slot, in the temporary directory, locked for as long as this process lives.

    Attributes:
        path: Where it is. Its user alone may pass through it, and the slot's, if that is another one: `user.settled`.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove it."""
        remove(self.path)
        os.close(self._lock)


def sweep() -> None:
    """Remove the directories of workers that died together with all their processes, who would have done it."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or just removed by somebody else
            if time.time() - path.stat().st_mtime > _YOUNG and _is_free(path):
                remove(path)


def remove(directory: Path) -> None:
    """Remove it with all that is in it: directories that are closed, or nested deeper than Python can follow, too."""
    with suppress(RecursionError):
        shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        subprocess.run(["chmod", "-R", "u+rwX", directory], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["rm", "-rf", directory], stderr=subprocess.DEVNULL, check=False)


def _is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)

"""Small disks, and how they fill up."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 2**20


def may_mount() -> bool:
    """Whether this process may mount a tmpfs."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return os.geteuid() == 0 and subprocess.run(probe, capture_output=True, check=False).returncode == 0


@contextmanager
def tmpfs(path: Path, mib: int) -> Iterator[Path]:
    """A disk of that size at `path`, taken away after the block."""
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", "octet-faults", str(path)], check=True)
    try:
        yield path
    finally:
        # Lazily: a process that has a file open there, and is about to die, does not matter.
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No byte is left on the disk within the block."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for block in (MIB, 4096):
            try:
                while True:
                    file.write(bytes(block))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        try:
            yield
        finally:
            filler.unlink()

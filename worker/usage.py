"""What a job's process uses of what no resource limit of the kernel's counts: shared memory, and the disk in total."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

import psutil

from worker.limits import out_of_disk, out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octet.wire import JobError
    from worker.process import Child

SECONDS = 0.5  # between two looks
MAX_FILES = 10_000
MAX_DEPTH = 20  # of directories in directories
_BLOCK = 512  # of st_blocks: stat(2)
_MAX_MAPS = 16 * 2**20  # characters about what a process has mapped; torch comes to a few hundred thousand
# proc_pid_status(5). Files that are mapped are not among them; the tables of what is mapped are.
_OWN_MEMORY = ("RssAnon", "RssShmem", "VmSwap", "VmPTE")


class TooMuch(Exception):  # noqa: N818 - an event, not a mistake
    """There is more than may be."""


def overdrawn(child: Child) -> JobError | None:
    """Why the child has to be ended, if it uses more than it may."""
    if any(memory(pid) > child.limits.memory_bytes for pid in processes(child)):
        return out_of_memory(child.limits)
    try:
        used = on_disk(child)
    except TooMuch:
        return out_of_disk(child.limits)
    return out_of_disk(child.limits) if used > child.limits.scratch_bytes else None


def on_disk(child: Child) -> int:
    """Bytes on disk that are the child's: in its scratch directory, or in files of it that have no name now.

    Raises:
        TooMuch: If there are too many files, or some where nobody can look.
    """
    return sum(_sizes(child.scratch)) + sum(unseen(pid, child.scratch) for pid in processes(child))


def memory(pid: int) -> int:
    """Bytes of memory that belong to a process; 0 if it is gone."""
    if (thread := _thread(pid)) is not None:
        status = _status(thread)
        return sum(int(status.get(field, "0").split()[0]) * 1024 for field in _OWN_MEMORY)
    with suppress(psutil.Error):  # also where there is no /proc
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def processes(child: Child) -> list[int]:
    """The job's process and the one that checks what it saves: all that the warm process has forked now."""
    with suppress(OSError, KeyError):
        parent = _status(Path(f"/proc/{child.pid}"))["PPid"].strip()
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()]
    return [child.pid]  # it is gone, or this kernel lists no children


def _thread(pid: int) -> Path | None:
    """What /proc says of a thread of it that lives: under its own id it says nothing once its first one has ended."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            if "RssAnon" in _status(task):
                return Path("/proc", task.name)
    return None


def _status(process: Path) -> dict[str, str]:
    lines = (process / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _sizes(scratch: Path) -> Iterator[int]:
    """The bytes on disk of everything in a directory.

    Raises:
        TooMuch: If there are too many of them, or some where nobody can look.
    """
    files, waiting = 0, [(str(scratch), 0)]
    while waiting:
        directory, depth = waiting.pop()
        try:
            with os.scandir(directory) as found:
                entries = list(islice(found, MAX_FILES + 1))
        except FileNotFoundError:  # it was there a moment ago
            continue
        except OSError as error:
            raise TooMuch from error
        files += len(entries)
        if files > MAX_FILES or depth > MAX_DEPTH:
            raise TooMuch
        for entry in entries:
            try:
                yield entry.stat(follow_symlinks=False).st_blocks * _BLOCK
            except FileNotFoundError:
                continue
            except OSError as error:
                raise TooMuch from error
            if entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, depth + 1))


def unseen(pid: int, scratch: Path) -> int:
    """The bytes on disk of files that a process has open, or mapped, under no name now; 0 where nobody can look.

    Raises:
        TooMuch: If it has more mapped than anybody can look at.
    """
    process, found = _thread(pid), {}
    if process is None:
        return 0
    with suppress(OSError):
        for path in (*(process / "fd").iterdir(), *_mapped(process, scratch)):
            with suppress(OSError):
                status = path.stat()
                if not status.st_nlink and S_ISREG(status.st_mode):
                    found[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK
    return sum(found.values())


def _mapped(process: Path, scratch: Path) -> Iterator[Path]:
    """The deleted files among what is mapped, under the names that the kernel has for root (proc_pid_map_files(5))."""
    with (process / "maps").open(encoding="utf-8", errors="replace") as maps:
        text = maps.read(_MAX_MAPS + 1)
    if len(text) > _MAX_MAPS:
        raise TooMuch
    for line in text.splitlines():
        if line.endswith(" (deleted)") and scratch.name in line:
            yield process / "map_files" / line.split(maxsplit=1)[0]

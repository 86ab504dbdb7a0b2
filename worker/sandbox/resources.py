"""What a process may use up, by setrlimit(2)."""

from __future__ import annotations

import mmap
import resource

from worker.sandbox.layer import Layer, Occupant

OPEN_FILES = 256
TASKS = 4096  # threads, beside those that its user has anyway
_GRACE = 5  # seconds of CPU between SIGXCPU, which says what happened, and SIGKILL


def _put_up(occupant: Occupant) -> str:
    limits = occupant.room.limits
    # RLIMIT_DATA counts what the process itself allocates. RLIMIT_AS would also count mapped libraries, mapped weights
    # and address space that CUDA and malloc merely reserve.
    _limit(resource.RLIMIT_DATA, limits.memory_bytes)
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds, grace=_GRACE)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NPROC, occupant.room.tasks)
    return f"{limits.memory_bytes / 2**30:.4g} GiB of memory, {limits.cpu_seconds} s of CPU"


def _limit(which: int, value: int, *, grace: int = 0) -> None:
    _, hard = resource.getrlimit(which)
    most = value + grace if hard == resource.RLIM_INFINITY else min(value + grace, hard)
    resource.setrlimit(which, (min(value, most), most))


def _get_past(occupant: Occupant) -> None:
    # Python says ValueError for a limit that may not be raised, so: what it limits.
    mmap.mmap(-1, occupant.room.limits.memory_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()


LAYER = Layer("limits", _put_up, _get_past)

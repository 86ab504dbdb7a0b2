"""What a forked process does before anything else: it leaves the warm process behind, and is confined."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING

import numpy as np
import torch

from worker.sandbox import confine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.protocol import Fork, Limits

_OPEN_FILES = 256
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def become(fork: Fork, descriptors: Sequence[int]) -> list[int]:
    """Turn a fresh fork of the warm process into a process of the job.

    Args:
        fork: What it may use.
        descriptors: All that stays open; the last one is the log, which takes the place of standard output and error.

    Returns:
        `descriptors` but for the log.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    kept = _keep_open(descriptors)
    _die_with(os.getppid())
    os.chdir(fork.scratch)
    # Temporary files go where they are removed with the job. The lock that lets one job at a time measure is in the
    # machine's temporary directory, and octet.measure has found that when it was imported.
    os.environ.update(HOME=str(fork.scratch), TMPDIR=str(fork.scratch))
    tempfile.tempdir = str(fork.scratch)
    os.nice(fork.nice)
    _limit(fork.limits)
    _start_anew(fork.threads)
    try:
        confine()
    except OSError:  # a container without seccomp: the job goes on without this second fence, and the log says so
        traceback.print_exc()
    return kept


def _keep_open(descriptors: Sequence[int]) -> list[int]:
    """Close everything else but standard input, which is nothing."""
    *kept, log = descriptors
    for standard in (1, 2):
        os.dup2(log, standard)
    lowest = 3
    for descriptor in sorted(kept):
        os.closerange(lowest, descriptor)
        lowest = descriptor + 1
    os.closerange(lowest, os.sysconf("SC_OPEN_MAX"))
    return kept


def _die_with(parent: int) -> None:
    """Have the kernel end this process when the warm process dies, whatever this one is doing then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _start_anew(threads: int) -> None:
    """What two children would have in common, and a process of its own has not. `random` sees to itself."""
    torch.set_num_threads(threads)
    torch.default_generator.manual_seed(torch.initial_seed())  # as torch begins; warming up has drawn from it
    np.random.seed()  # noqa: NPY002 - the generator that libraries use


def _limit(limits: Limits) -> None:
    # RLIMIT_DATA counts what the process itself allocates. RLIMIT_AS would also count mapped libraries, mapped weights
    # and address space that CUDA and malloc merely reserve.
    for name, value in (
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(name)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (allowed, allowed))

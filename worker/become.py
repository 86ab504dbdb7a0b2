"""What a forked process does before anything else: it leaves the warm process behind, and is confined."""

from __future__ import annotations

import os
import signal
import tempfile
from typing import TYPE_CHECKING

import torch
from numpy import random

from worker.sandbox import confine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octet.wire import SandboxLayer
    from worker.sandbox import Occupant


def become(occupant: Occupant, descriptors: Sequence[int]) -> tuple[list[SandboxLayer], list[int]]:
    """Turn a fresh fork of the warm process into a process of a job.

    Args:
        occupant: What it is to be.
        descriptors: All that stays open; the last one is the log, which takes the place of standard output and error.

    Returns:
        What stands around it, and `descriptors` but for the log.
    """
    room, scratch = occupant.room, str(occupant.scratch)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    kept = _keep_open(descriptors)
    os.chdir(scratch)
    os.umask(0o077)
    # Temporary files go where they are removed with the job. The lock that lets one job at a time measure is in the
    # machine's temporary directory, and octet.measuring has found that when it was imported.
    os.environ.clear()
    os.environ.update(LANG="C.UTF-8", HOME=scratch, TMPDIR=scratch)
    tempfile.tempdir = scratch
    os.nice(room.nice)
    _start_anew(room.threads)
    return confine(occupant), kept


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


def _start_anew(threads: int) -> None:
    """What two children would have in common, and a process of its own has not. `random` sees to itself."""
    torch.set_num_threads(threads)
    torch.default_generator.manual_seed(torch.initial_seed())  # as torch begins; warming up has drawn from it
    random.seed()  # noqa: NPY002 - it is the generator that libraries use

"""What a forked process does before anything else: it leaves the warm process behind, and is confined."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from numpy import random

from worker.sandbox import confine
from worker.sandbox.kernel import show_to_runner

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
    show_to_runner()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    kept = _keep_open(descriptors)
    os.chdir(scratch)
    os.umask(0o077)
    # Temporary files go where they are removed with the job.
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
    # By name: trying every one that there may be would take minutes where a process may have a thousand million.
    for entry in list(Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd").iterdir()):
        if (descriptor := int(entry.name)) > 2 and descriptor not in kept:  # noqa: PLR2004 - the standard ones stay
            with suppress(OSError):  # what read the directory is closed by now
                os.close(descriptor)
    return kept


def _start_anew(threads: int) -> None:
    """What two children would have in common, and a process of its own has not. `random` sees to itself."""
    torch.set_num_threads(threads)
    torch.default_generator.manual_seed(torch.initial_seed())  # as torch begins; warming up has drawn from it
    random.seed()  # noqa: NPY002 - it is the generator that libraries use

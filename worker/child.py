"""The process in which one job runs: `python -m worker.child FD`. The only place in the service that imports torch.

It warms up torch, says so, waits for one assignment, does it and ends. FD is its end of a socket pair with the runner;
when the runner's end closes, for whatever reason, it kills itself and everything it started.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import octet
import octet.pipeline
from octet.errors import OctetError
from octet.pipeline.trial import is_out_of_memory
from octet.progress import Progress
from octet.wire import JobError
from worker.protocol import (
    INTERNAL_ERROR,
    Advanced,
    Assignment,
    Checkpointed,
    Failed,
    Finished,
    Limits,
    Message,
    Ready,
)
from worker.sandbox import confine
from worker.warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

_OPEN_FILES = 256


def main(descriptor: int) -> None:
    """Serve one assignment, in the current directory, which is the job's scratch."""
    # Temporary files go where they are removed with the job. Not from the start: the lock that lets one job at a time
    # measure is in the machine's temporary directory, and octet.measure has found that when it was imported.
    os.environ["TMPDIR"] = tempfile.tempdir = str(Path.cwd())
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)  # the runner must see the end of this process, not of one that it started

    def say(message: Message) -> None:
        channel.sendall(message.model_dump_json().encode() + b"\n")

    def on_progress(progress: Progress) -> None:
        say(Advanced(progress=progress))

    def on_checkpoint() -> None:
        say(Checkpointed())

    warm_up()
    _confine()
    try:
        say(Ready(engines=[name for name in torch.backends.quantized.supported_engines if name != "none"]))
        line = channel.makefile("rb").readline()
    except OSError:  # the runner went away while this process warmed up
        line = b""
    if not line:
        _remove_scratch()
        return
    threading.Thread(target=_die_with_runner, args=(channel,), daemon=True).start()
    assignment = Assignment.model_validate_json(line)
    _limit(assignment.limits)
    try:
        _run(assignment, on_progress, on_checkpoint)
    except Exception as error:  # noqa: BLE001 - whatever it is, the job's owner is told in words
        traceback.print_exc()
        say(Failed(error=_in_words(error, assignment.limits)))
    else:
        say(Finished())


def _die_with_runner(channel: socket.socket) -> None:
    # Portable, and tied to the runner's process; PR_SET_PDEATHSIG is tied to the thread that started us.
    channel.recv(1)
    _remove_scratch()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _remove_scratch() -> None:
    """What the runner does, if it is there to do it."""
    shutil.rmtree(Path.cwd(), ignore_errors=True)


def _confine() -> None:
    try:
        confine()
    except OSError:  # a container without seccomp: the job goes on without this second fence, and the log says so
        traceback.print_exc()


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
        resource.setrlimit(name, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _run(assignment: Assignment, on_progress: octet.progress.OnProgress, on_checkpoint: Callable[[], None]) -> None:
    on_progress(Progress(stage="load", fraction=0.0))
    result = octet.pipeline.quantize(
        octet.load(assignment.model),
        assignment.recipe,
        calibration=octet.read_dataset(assignment.calibration) if assignment.calibration else None,
        evaluation=octet.read_dataset(assignment.evaluation) if assignment.evaluation else None,
        on_progress=on_progress,
        checkpoint=assignment.checkpoint,
        on_checkpoint=on_checkpoint,
    )
    result.save(assignment.output, on_progress=on_progress)


def _in_words(error: Exception, limits: Limits) -> JobError:
    if isinstance(error, OctetError):
        return JobError(code=error.code, message=error.message, hint=error.hint)
    if is_out_of_memory(error):
        return JobError(
            code="out_of_memory",
            message=f"The job needs more memory than the {limits.memory_bytes / 2**30:.1f} GiB that a job may use.",
            hint="Use smaller batches (calibration, training, measure), or ask for a higher OCTET_JOB_MEMORY_BYTES.",
        )
    return INTERNAL_ERROR


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""What one job may use of this machine."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from octet.wire import JobError
from worker.sandbox.layer import Limits

if TYPE_CHECKING:
    from store.settings import Settings

_ARTIFACT_OVERHEAD_BYTES = 64 * 2**20  # what a saved model may have beyond the upload it came from


def threads(settings: Settings) -> int:
    """CPU threads of a job."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return settings.job_threads or available


def artifact_bytes(settings: Settings) -> int:
    """Size of the largest file that a job may make."""
    return settings.max_upload_bytes + _ARTIFACT_OVERHEAD_BYTES


def limits(settings: Settings) -> Limits:
    """The resource limits of a job's process."""
    return Limits(
        memory_bytes=settings.job_memory_bytes,
        cpu_seconds=math.ceil(settings.job_timeout_seconds * threads(settings)),
        file_bytes=artifact_bytes(settings),
        scratch_bytes=settings.job_scratch_bytes,
    )


def out_of_memory(limits: Limits) -> JobError:
    """What becomes of a job that asks for more, whoever notices."""
    return JobError(
        code="out_of_memory",
        message=f"The job needs more memory than the {limits.memory_bytes / 2**30:.1f} GiB that a job may use.",
        hint="Use smaller batches (calibration, training, measure), or ask for a higher OCTET_JOB_MEMORY_BYTES.",
    )


def out_of_disk(limits: Limits) -> JobError:
    """Likewise, of one that writes more."""
    return JobError(
        code="out_of_disk",
        message=f"The job has more files, or larger ones, than a job may have: {limits.scratch_bytes / 2**30:.1f} GiB.",
        hint="Use less data, or ask for a higher OCTET_JOB_SCRATCH_BYTES.",
    )

"""What a job uses that the kernel does not count, and who stops it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from working import wait_until

from store.tables import Job
from worker import usage
from worker.alarm import Alarm
from worker.reporter import Reporter
from worker.sandbox import Limits
from worker.watch import Refused, watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worker.process import Child

MIB = 2**20


def refused(child: Child, **limits: int) -> str:
    """The code of the error that the watch ends the child with, if it may have so little."""
    child.limits = Limits(**{**child.limits.model_dump(), **limits})
    alarm = Alarm()
    nobody: Any = None
    reporter = Reporter(nobody, Job(id=uuid4(), attempt=1), child.scratch, limit=0)
    with pytest.raises(Refused) as caught:
        watch(child, alarm, reporter, seconds=30)
    alarm.close()
    return caught.value.error.code


def many_files(scratch: Path) -> None:
    for number in range(usage.MAX_FILES):
        (scratch / str(number)).touch()


def much_in_some(scratch: Path) -> None:
    for number in range(5):
        (scratch / str(number)).write_bytes(bytes(MIB))


def deep_directories(scratch: Path) -> None:
    scratch.joinpath(*["deeper"] * (usage.MAX_DEPTH + 2)).mkdir(parents=True)


@pytest.mark.parametrize("fill", [many_files, much_in_some, deep_directories])
def test_a_job_that_fills_the_disk_is_ended(child: Child, fill: Callable[[Path], None]) -> None:
    fill(child.scratch)
    assert refused(child, scratch_bytes=4 * MIB) == "out_of_disk"
    child.close()
    assert not child.scratch.exists()


def test_a_job_that_takes_more_memory_than_limits_count_is_ended(child: Child) -> None:
    assert refused(child, memory_bytes=MIB) == "out_of_memory"


def test_shared_memory_counts() -> None:
    code = "import mmap; taken = mmap.mmap(-1, 64 << 20); taken.write(bytes(64 << 20)); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert usage.memory(process.pid) > 64 * MIB


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees which files are mapped")
@pytest.mark.parametrize("then", ["input()", "taken = mmap.mmap(file.fileno(), 4096); file.close(); input()"])
def test_a_file_without_a_name_counts_as_long_as_it_is_there(child: Child, then: str) -> None:
    code = (
        "import mmap, os, sys; file = open(sys.argv[1], 'w+b'); file.write(bytes(8 << 20)); file.flush();"
        f"os.unlink(sys.argv[1]); print(1, flush=True); {then}"
    )
    command = [sys.executable, "-c", code, str(child.scratch / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        child.pid, pid = process.pid, child.pid  # as if the job's own process had it
        child.limits = Limits(**{**child.limits.model_dump(), "scratch_bytes": 4 * MIB})
        wait_until(lambda: usage.overdrawn(child))
        child.pid = pid

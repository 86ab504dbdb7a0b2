"""What a job uses that the kernel does not count, and who stops it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psutil
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


def started(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A program that says when it has come to where it waits."""
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_what_is_mapped_without_being_held_takes_memory_too() -> None:
    code = """
import mmap
taken = mmap.mmap(-1, 32 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
taken.madvise(mmap.MADV_NOHUGEPAGE)
for at in range(0, 32 << 30, 2 << 20):  # a table of 4 KiB for each 2 MiB
    taken[at]
print(1, flush=True)
input()
"""
    with started(code) as process:
        assert usage.memory(process.pid) > 64 * MIB
        process.kill()


AFTER_ITS_FIRST_THREAD = """
import ctypes, mmap, os, sys, threading
file = open(sys.argv[1], "w+b")
file.write(bytes(8 << 20))
file.flush()
os.unlink(sys.argv[1])
taken = mmap.mmap(-1, 64 << 20)
taken.write(bytes(64 << 20))
first = threading.get_native_id()
def go_on():
    while True:
        with open(f"/proc/self/task/{first}/stat") as status:
            if status.read().rpartition(")")[2].split()[0] == "Z":
                break
    print(1, flush=True)
    threading.Event().wait()
threading.Thread(target=go_on).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)  # exit, of this thread alone
"""


def test_a_process_whose_first_thread_has_ended_is_still_looked_at(tmp_path: Path) -> None:
    with started(AFTER_ITS_FIRST_THREAD, str(tmp_path / "file")) as process:
        assert usage.memory(process.pid) > 64 * MIB
        assert usage.unseen(process.pid, tmp_path) >= 8 * MIB
        process.kill()


def test_what_a_process_calls_itself_does_not_matter() -> None:
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b'\\xff', 0, 0, 0); print(1, flush=True); input()"
    with started(code) as process:
        assert usage.memory(process.pid) > 0
        process.kill()


def test_the_process_that_checks_is_looked_at_as_well(child: Child) -> None:
    both = {process.pid for process in psutil.process_iter() if os.getpgid(process.pid) == child.pid}
    assert set(usage.processes(child)) == both


def test_files_whose_paths_are_too_long_to_look_at_are_too_many(child: Child) -> None:
    descriptor = os.open(child.scratch, os.O_RDONLY)
    length = len(str(child.scratch))
    while length < 4000:  # of 4095 characters that a path may have
        name = "x" * min(250, 4060 - length)
        os.mkdir(name, dir_fd=descriptor)
        descriptor, above = os.open(name, os.O_RDONLY, dir_fd=descriptor), descriptor
        os.close(above)
        length += len(name) + 1
    os.close(os.open("y" * 250, os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    assert refused(child) == "out_of_disk"


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

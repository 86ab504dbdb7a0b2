"""The process that jobs are forked from: what it starts, and what ends with it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from working import wait_until

from worker.alarm import Alarm
from worker.sandbox import LAYERS
from worker.scratch import remove, sweep
from worker.warmth import WarmProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.settings import Settings
    from worker.process import Child


@pytest.fixture
def own(settings: Settings) -> Iterator[WarmProcess]:
    """A warm process that the test may end."""
    warm = WarmProcess(settings)
    alarm = Alarm()
    assert warm.until_warm(alarm)
    yield warm
    warm.close()
    alarm.close()


def test_it_forks_with_one_thread_and_each_child_is_another_process(warm: WarmProcess) -> None:
    first = warm.fork()
    (parent,) = {psutil.Process(first.pid).parent()}
    assert parent is not None
    assert parent.num_threads() == 1
    first.close()
    second = warm.fork()
    assert second.pid != first.pid
    assert not psutil.pid_exists(first.pid)
    second.close()


def test_a_child_ends_by_itself_when_nobody_wants_it(child: Child) -> None:
    child.channel.close()
    assert child.death() == "stopped with exit status 0"


def test_a_child_and_what_checks_for_it_end_together_and_leave_nothing(child: Child) -> None:
    both = [process for process in psutil.process_iter() if os.getpgid(process.pid) == child.pid]
    assert len(both) == 2
    child.close()
    assert not [process for process in both if process.is_running()]
    assert not child.scratch.exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGSEGV, "crashed with SIGSEGV"), (signal.SIGRTMIN + 1, f"was ended by signal {signal.SIGRTMIN + 1}")],
)
def test_how_a_child_was_killed_is_known(child: Child, number: int, words: str) -> None:
    os.kill(child.pid, number)
    assert child.death() == words


def test_of_what_a_child_wrote_little_is_kept(child: Child) -> None:
    (child.scratch / "log").write_bytes(b"\n" * 2**20 + b"the end")
    lines = child.log_lines()
    assert len(lines) <= 200
    assert lines[-1] == "the end"


def test_one_that_stops_answering_is_ended(child: Child) -> None:
    os.kill(child.pid, signal.SIGSTOP)
    child.kill()
    assert not psutil.pid_exists(child.pid)


def test_its_children_end_with_it(own: WarmProcess) -> None:
    child = own.fork()
    process = psutil.Process(child.pid)
    parent = process.parent()
    assert parent is not None
    parent.kill()
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert child.death() == "stopped answering"
    child.close()


def test_what_a_child_has_left_outlives_the_process_that_it_was_forked_from(own: WarmProcess) -> None:
    child = own.fork()
    (child.scratch / "model.pt2").write_bytes(b"finished")
    parent = psutil.Process(child.pid).parent()
    assert parent is not None
    parent.kill()
    child.kill()
    assert (child.scratch / "model.pt2").read_bytes() == b"finished"
    child.close()
    wait_until(lambda: not own.hear())
    assert not child.scratch.parent.exists()


def test_it_ends_with_its_children_when_the_runner_hangs_up(own: WarmProcess) -> None:
    child = own.fork()
    process, home = psutil.Process(child.pid), child.scratch.parent
    own.close()
    assert not process.is_running()
    assert not home.exists()
    child.close()


@pytest.mark.parametrize("path", [os.environ["PATH"], ""], ids=["with what is installed", "without bubblewrap"])
def test_what_stands_around_its_children_is_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    if path and not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed")
    monkeypatch.setenv("PATH", path)
    warm, alarm = WarmProcess(settings), Alarm()
    assert warm.until_warm(alarm)
    assert [layer.name for layer in warm.sandbox] == [layer.name for layer in LAYERS]
    assert all(layer.detail for layer in warm.sandbox)
    assert {layer.name for layer in warm.sandbox if layer.holds} >= {"limits", "no_new_privs"}
    by = {layer.name: layer.detail for layer in warm.sandbox}["namespaces"]
    assert ("bubblewrap" in by) == bool(path) or "may" in by
    warm.close()
    alarm.close()


def test_an_alarm_ends_the_wait_for_one_that_still_loads_torch(settings: Settings) -> None:
    warm, alarm = WarmProcess(settings), Alarm()
    alarm.ring("stopping")
    assert not warm.until_warm(alarm)
    warm.close()
    alarm.close()


def test_what_dead_workers_left_is_swept_and_nothing_else(warm: WarmProcess) -> None:
    left = Path(tempfile.mkdtemp(prefix="octet-jobs-"))
    (left / "job" / "deeper").mkdir(parents=True)
    new = Path(tempfile.mkdtemp(prefix="octet-jobs-"))
    child = warm.fork()
    for old in (left, child.scratch.parent):
        os.utime(old, (0, 0))
    sweep()
    assert not left.exists()
    assert new.exists()  # somebody has just made it
    assert child.scratch.exists()
    new.rmdir()
    child.close()


def test_a_directory_is_removed_however_it_was_left(tmp_path: Path) -> None:
    directory = tmp_path / "job"
    deep = directory
    for _ in range(40):
        deep /= "x" * 50
    deep.mkdir(parents=True)
    (directory / "closed").mkdir(mode=0)
    remove(directory)
    assert not directory.exists()

"""A job that means harm: what it may use up, and what it can reach."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from devouring import Loop, double, grow_and_multiply, rewritten
from working import QUICK, Desk

import octet

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.process import Child
    from worker.runner import Runner

GIB = 2**30


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return octet.export(Loop(), (torch.randn(2, 16),), tmp_path / "calls.pt2")


def test_a_graph_that_devours_memory_fails_by_name_and_the_next_job_is_done(
    desk: Desk, model: Path, calls: Path, tmp_path: Path, runner_with: Callable[..., Runner]
) -> None:
    runner = runner_with(job_memory_bytes=GIB)
    job_id = desk.submit(rewritten(calls, tmp_path / "bad.pt2", double), QUICK, hint=False)
    runner.run(job_id)
    job = desk.job(job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "out_of_memory"
    assert "aten.cat" in job.error["message"]
    next_id = desk.submit(model, QUICK, hint=False)
    runner.run(next_id)
    assert desk.job(next_id).state == "succeeded"


def test_a_graph_that_computes_without_end_is_ended(
    desk: Desk, calls: Path, tmp_path: Path, runner_with: Callable[..., Runner]
) -> None:
    runner = runner_with(job_timeout_seconds=8.0)
    job_id = desk.submit(rewritten(calls, tmp_path / "bad.pt2", grow_and_multiply), QUICK, hint=False)
    runner.run(job_id)
    job = desk.job(job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "timeout"


def test_a_jobs_process_has_nothing_open_and_may_open_nothing_to_the_outside(child: Child) -> None:
    process = Path(f"/proc/{child.pid}")
    opened = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
    assert {name for name in opened if not name.startswith("socket:")} == {"/dev/null", str(child.scratch / "log")}
    assert sum(name.startswith("socket:") for name in opened) == 2  # to the runner, and to the checker
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")

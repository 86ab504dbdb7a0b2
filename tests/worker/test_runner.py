"""The limits of a job, and what a worker may no longer write, with the runner in this process."""

from __future__ import annotations

import os
import resource
import tempfile
from threading import Thread
from typing import TYPE_CHECKING

import torch
from sqlalchemy import update
from working import ENDLESS, QUICK, Desk, busy_child

import octet
from store.tables import Job
from worker import room

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from worker.runner import Runner


GIB = 2**30


def test_a_job_that_needs_more_memory_than_it_may_have_fails_in_words(
    desk: Desk, tmp_path: Path, runner_with: Callable[..., Runner]
) -> None:
    wide = octet.export(torch.nn.Linear(16, 2**17), (torch.randn(2, 16),), tmp_path / "wide.pt2")
    greedy = {**QUICK, "measure": {"seconds": 0.05, "layers": False, "batch_sizes": [4096]}}  # 2 GiB of outputs
    job_id = desk.submit(wide, greedy, hint=False)
    runner_with(job_memory_bytes=GIB).run(job_id)
    job = desk.job(job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "out_of_memory"
    assert "1.0 GiB" in job.error["message"]


def test_a_job_that_takes_too_long_is_ended_and_says_so(
    desk: Desk, model: Path, runner_with: Callable[..., Runner]
) -> None:
    job_id = desk.submit(model, ENDLESS, hint=False)
    runner_with(job_timeout_seconds=0.5).run(job_id)
    job = desk.job(job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "timeout"
    assert "0.5 seconds" in job.error["message"]


def test_a_recipe_may_allow_less_time_than_the_service_and_is_not_tried_again(
    desk: Desk, model: Path, runner_with: Callable[..., Runner]
) -> None:
    job_id = desk.submit(model, {**ENDLESS, "timeout_seconds": 0.5}, hint=False)
    runner_with(max_attempts=3).run(job_id)
    job = desk.job(job_id)
    assert (job.state, job.attempt) == ("failed", 1)
    assert job.error is not None
    assert job.error["code"] == "timeout"
    assert "0.5 seconds; it had come to the stage" in job.error["message"]


def test_a_worker_that_lost_its_lease_writes_nothing_more(
    desk: Desk, model: Path, runner_with: Callable[..., Runner]
) -> None:
    runner = runner_with()
    job_id = desk.submit(model, ENDLESS, hint=False)
    thread = Thread(target=runner.run, args=(job_id,))
    thread.start()
    desk.until_measuring(job_id)
    with desk.database.begin() as session:  # as if this worker had been given up, and another had the job now
        session.execute(update(Job).where(Job.id == job_id).values(attempt=2, stage="load", progress=0.0))
    thread.join()
    job = desk.job(job_id)
    assert (job.state, job.attempt, job.stage) == ("running", 2, "load")


def test_a_stopped_runner_begins_no_job_and_names_it_for_others(
    desk: Desk, model: Path, runner_with: Callable[..., Runner]
) -> None:
    runner = runner_with()
    runner.stop()
    job_id = desk.submit(model, QUICK, hint=False)
    runner.run(job_id)
    assert desk.job(job_id).state == "queued"
    assert runner.handed_back == {job_id}


def test_a_worker_whose_disk_is_full_takes_no_job_until_there_is_room(
    desk: Desk, model: Path, runner_with: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_with()
    job_id = desk.submit(model, QUICK, hint=False)
    with monkeypatch.context() as full:
        full.setattr(room, "LEAST_BYTES", 2**80)
        runner.run(job_id)
        assert desk.job(job_id).state == "queued"
    runner.run(job_id)
    assert desk.job(job_id).state == "succeeded"


def test_an_attempt_that_a_full_disk_may_have_ended_does_not_count(
    desk: Desk, model: Path, runner_with: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_with()
    job_id = desk.submit(model, ENDLESS, hint=False)
    thread = Thread(target=runner.run, args=(job_id,))
    thread.start()
    desk.until_measuring(job_id)
    monkeypatch.setattr(room, "LEAST_BYTES", 2**80)
    busy_child(os.getpid()).kill()
    thread.join()
    job = desk.job(job_id)
    assert (job.state, job.attempt, job.released) == ("queued", 1, 1)


def test_a_worker_without_a_place_for_jobs_takes_none_until_it_is_there(
    desk: Desk, model: Path, runner_with: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job_id = desk.submit(model, QUICK, hint=False)
    with monkeypatch.context() as gone:
        gone.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        runner = runner_with()
        runner.run(job_id)
        assert desk.job(job_id).state == "queued"
    runner.run(job_id)
    assert desk.job(job_id).state == "succeeded"


def test_a_job_that_a_worker_cannot_handle_is_given_up_in_words(
    desk: Desk, tmp_path: Path, runner_with: Callable[..., Runner]
) -> None:
    large = octet.export(torch.nn.Linear(1024, 4096), (torch.randn(2, 1024),), tmp_path / "large.pt2")  # 16 MiB
    job_id = desk.submit(large, QUICK, hint=False)
    runner = runner_with(max_attempts=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 2**20, before[1]))
        runner.run(job_id)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    job = desk.job(job_id)
    assert (job.state, job.attempt) == ("failed", 2)
    assert job.error is not None
    assert "Attempt 2: The worker could not handle the job's files (File too large)." in job.error["message"]

"""What becomes of a job when its worker stops, dies, or loses touch."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from working import ENDLESS, LONGER, QUICK, Desk, WorkerProcess, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

FAKETIME = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]


def test_a_stopping_worker_hands_its_job_back_at_once_and_another_does_it(
    desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    # With leases and reconcilers as slow as these, only a job that was handed back can be over soon.
    slow = {"LEASE_SECONDS": "3600", "RECONCILE_SECONDS": "1800"}
    first = start_worker(**slow)
    job_id = desk.submit(model, LONGER)
    desk.until_measuring(job_id)
    second = start_worker(**slow)
    children = first.children()
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    wait_until(lambda: not [child for child in children if psutil.pid_exists(child.pid)])
    job = desk.until_finished(job_id)
    assert (job.state, job.attempt, job.released) == ("succeeded", 2, 1)
    assert second.alive


def test_a_killed_workers_processes_die_with_it_and_another_does_its_job(
    desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    first = start_worker()
    job_id = desk.submit(model, LONGER)
    desk.until_measuring(job_id)
    children, scratch = first.children(), Path(first.busy_child().cwd())
    first.send(signal.SIGKILL)
    wait_until(lambda: not scratch.exists() and not [child for child in children if child.is_running()])
    start_worker()
    job = desk.until_finished(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)


def test_two_slots_run_two_jobs_at_a_time(desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]) -> None:
    start_worker(WORKER_SLOTS="2")
    both = [desk.submit(model, ENDLESS), desk.submit(model, ENDLESS)]
    for job_id in both:
        wait_until(lambda job_id=job_id: desk.job(job_id).state == "running")
    for job_id in both:
        desk.cancel(job_id)
        assert desk.until_finished(job_id).state == "cancelled"


def test_a_worker_that_slept_past_its_lease_changes_nothing_when_it_wakes(
    desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    first = start_worker()
    job_id = desk.submit(model, ENDLESS)
    desk.until_measuring(job_id)
    child = first.busy_child()
    first.send(signal.SIGSTOP)
    start_worker()
    desk.until_measuring(job_id, attempt=2)
    first.send(signal.SIGCONT)
    wait_until(lambda: not child.is_running())
    job = desk.job(job_id)
    assert (job.state, job.attempt) == ("running", 2)
    desk.cancel(job_id)
    desk.until_finished(job_id)
    attempts = [event.attempt for event in desk.events(job_id)]
    assert attempts == sorted(attempts)


def test_a_stopping_worker_lets_its_job_finish_within_the_grace(
    desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker(GRACE_SECONDS="600")
    running, waiting = desk.submit(model, LONGER), desk.submit(model, QUICK)
    desk.until_measuring(running)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert [(job.state, job.attempt) for job in map(desk.job, (running, waiting))] == [("succeeded", 1), ("queued", 0)]


def test_a_worker_that_is_told_twice_to_stop_does_not_wait_for_its_job(
    desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker(GRACE_SECONDS="600")
    job_id = desk.submit(model, ENDLESS)
    desk.until_measuring(job_id)
    worker.send(signal.SIGTERM)
    wait_until(lambda: "beginning no more jobs" in worker.log.read_text())
    assert desk.job(job_id).state == "running"
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    job = desk.job(job_id)
    assert (job.state, job.attempt, job.released) == ("queued", 1, 1)


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed")
def test_workers_whose_clocks_are_two_hours_apart_do_their_jobs_and_leave_each_other_theirs(
    desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    for offset in ("+1h", "-1h"):
        # The clock that only goes forward is right on such a machine: it counts from its start.
        wrong = {"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        start_worker(environment=wrong)
    both = [desk.submit(model, LONGER), desk.submit(model, LONGER)]
    wait_until(lambda: {desk.job(job_id).state for job_id in both} == {"running"})
    assert len({desk.job(job_id).worker_id for job_id in both}) == 2
    for job_id in both:
        job = desk.until_finished(job_id)
        assert (job.state, job.attempt) == ("succeeded", 1)

"""What a worker does with jobs, and with whatever happens to their processes. One worker for all of these tests."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy import text, update
from working import ENDLESS, LONGER, QUICK, Desk, WorkerProcess, wait_until

from store import artifacts
from store.protocol import PROTOCOL
from store.settings import Settings
from store.tables import Job
from worker.artifacts import MEDIA_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.database import Database


@pytest.fixture(scope="module")
def worker(
    postgres: str, redis_url: str, migrated_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    del migrated_database  # only so that the tables are there
    settings = Settings(database_url=postgres, redis_url=redis_url)
    worker = WorkerProcess(settings, tmp_path_factory.mktemp("worker") / "log")
    yield worker
    worker.stop()


pytestmark = pytest.mark.usefixtures("worker")


def test_a_job_goes_from_queued_over_running_to_succeeded(desk: Desk, model: Path) -> None:
    job_id = desk.submit(model, QUICK)
    job = desk.until_finished(job_id)
    assert job.state == "succeeded"
    assert job.error is None
    assert job.report is not None
    assert job.report["verification"]["max_abs_difference"] <= job.report["verification"]["tolerance"]
    events = desk.events(job_id)
    assert [event.state for event in events if event.kind == "state"] == ["queued", "running", "succeeded"]
    progress = [event.progress for event in events]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_a_job_leaves_its_artifacts_and_nothing_else(desk: Desk, model: Path, worker: WorkerProcess) -> None:
    job_id = desk.submit(model, LONGER)
    desk.until_measuring(job_id)
    scratch = Path(worker.busy_child().cwd())
    assert desk.until_finished(job_id).state == "succeeded"
    with desk.database.begin() as session:
        assert {artifact.name: artifact.media_type for artifact in artifacts.list_for(session, job_id)} == MEDIA_TYPES
    wait_until(lambda: not scratch.exists())


def test_hints_that_come_more_than_once_start_a_job_once(desk: Desk, model: Path) -> None:
    job_id = desk.submit(model, QUICK)
    desk.hints.publish(job_id)
    desk.hints.publish(job_id)
    assert desk.until_finished(job_id).attempt == 1
    desk.hints.publish(job_id)
    other = desk.submit(model, QUICK)
    assert desk.until_finished(other).state == "succeeded"
    assert desk.job(job_id).attempt == 1


def test_a_job_whose_hint_was_lost_is_found(desk: Desk, model: Path) -> None:
    job_id = desk.submit(model, QUICK, hint=False)
    assert desk.until_finished(job_id).state == "succeeded"


def test_a_job_that_cannot_be_done_fails_with_the_engines_own_words(desk: Desk, model: Path) -> None:
    job = desk.until_finished(desk.submit(model, {"method": "static"}))
    assert job.state == "failed"
    assert job.attempt == 1
    assert job.error is not None
    assert job.error["code"] == "invalid_dataset"
    assert job.error["message"]


def test_cancelling_a_running_job_ends_its_process_and_removes_its_files(
    desk: Desk, model: Path, worker: WorkerProcess
) -> None:
    job_id = desk.submit(model, ENDLESS)
    desk.until_measuring(job_id)
    child = worker.busy_child()
    scratch = Path(child.cwd())
    desk.cancel(job_id)
    assert desk.until_finished(job_id).state == "cancelled"
    wait_until(lambda: not child.is_running() and not scratch.exists())


def test_a_job_that_is_hinted_twenty_times_is_done_once(desk: Desk, model: Path) -> None:
    job_id = desk.submit(model, QUICK)
    for _ in range(20):
        desk.hints.publish(job_id)
    assert desk.until_finished(job_id).state == "succeeded"
    last = desk.until_finished(desk.submit(model, QUICK))  # by now those hints have been looked at
    assert (last.state, desk.job(job_id).attempt) == ("succeeded", 1)


def test_a_job_that_needs_a_newer_worker_waits_and_holds_up_nobody(desk: Desk, model: Path) -> None:
    newer = desk.submit(model, QUICK, hint=False)
    with desk.database.begin() as session:
        session.execute(update(Job).where(Job.id == newer).values(protocol=PROTOCOL + 1))
    desk.hints.publish(newer)
    assert desk.until_finished(desk.submit(model, QUICK)).state == "succeeded"
    assert desk.job(newer).state == "queued"
    desk.cancel(newer)


def test_a_job_whose_process_is_killed_is_tried_again(desk: Desk, model: Path, worker: WorkerProcess) -> None:
    job_id = desk.submit(model, LONGER)
    desk.until_measuring(job_id)
    worker.busy_child().kill()
    job = desk.until_finished(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    (again,) = [event for event in desk.events(job_id) if event.state == "queued" and event.attempt == 1]
    assert "was killed" in again.message


def test_a_job_whose_process_is_killed_every_time_fails_in_words(
    desk: Desk, model: Path, worker: WorkerProcess
) -> None:
    job_id = desk.submit(model, ENDLESS)
    for attempt in (1, 2):
        desk.until_measuring(job_id, attempt=attempt)
        worker.busy_child().kill()
    job = desk.until_finished(job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "crashed"
    assert "was killed" in job.error["message"]
    assert "measure" in job.error["message"]


def test_a_job_outlives_the_loss_of_every_connection_to_the_database(desk: Desk, model: Path) -> None:
    job_id = desk.submit(model, LONGER)
    desk.until_measuring(job_id)
    with desk.database.begin() as session:
        session.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"))
    job = desk.until_finished(job_id)
    assert (job.state, job.attempt) == ("succeeded", 1)


def test_a_warm_process_that_died_is_replaced(desk: Desk, model: Path, worker: WorkerProcess) -> None:
    warm = worker.warm()
    warm.kill()
    wait_until(lambda: worker.warm().pid != warm.pid)
    assert desk.until_finished(desk.submit(model, QUICK)).state == "succeeded"


def test_the_warm_process_sees_nothing_of_the_workers_environment(worker: WorkerProcess) -> None:
    environment = wait_until(worker.warm().environ)
    assert set(environment) - {"PWD"} == {  # which bubblewrap adds
        "PATH", "LANG", "HOME", "TMPDIR", "PYTHONPATH", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
    }  # fmt: skip


def test_a_worker_says_what_it_is_and_what_it_runs(desk: Desk, model: Path, worker: WorkerProcess) -> None:
    wait_until(lambda: any("fbgemm" in row.engines for row, _ in desk.workers()))
    job_id = desk.submit(model, ENDLESS)
    desk.until_measuring(job_id)
    ((row, running),) = desk.workers()
    assert (row.pid, row.slots, running) == (worker.pid, 1, [job_id])
    desk.cancel(job_id)
    desk.until_finished(job_id)


def test_stopped_the_worker_leaves_no_process_behind(worker: WorkerProcess) -> None:
    children = worker.children()
    worker.send(signal.SIGINT)
    assert worker.wait() == 0
    wait_until(lambda: not [child for child in children if psutil.pid_exists(child.pid)])

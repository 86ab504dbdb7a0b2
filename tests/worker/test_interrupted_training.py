"""What becomes of a training when its process, or its worker, is killed in the middle of it."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from working import Desk, WorkerProcess, wait_until

from store import artifacts
from store.tables import Blob, Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID


EPOCHS = 15
SECONDS = 240.0
"""Enough for two attempts, each with the start of a process, on a machine that has other work."""
TRAINED = {
    "method": "qat",
    "calibration": {"source": "synthetic", "samples": 64},
    "training": {"epochs": EPOCHS, "batch_size": 4},
    "measure": {"seconds": 0.05, "layers": False},
}


def until_checkpointed(desk: Desk, job_id: UUID) -> None:
    wait_until(lambda: desk.job(job_id).checkpoint_sha256)


def report_of(job: Job) -> dict[str, Any]:
    """The report of a job that succeeded."""
    assert job.state == "succeeded", job.error
    assert job.report is not None
    return job.report


def went_on_after(job: Job) -> int:
    """The epoch after which its last attempt went on."""
    (note,) = [warning for warning in report_of(job)["warnings"] if "went on" in warning]
    found = re.fullmatch(rf"Training was interrupted; it went on after epoch (\d+) of {EPOCHS}\.", note)
    assert found is not None
    return int(found[1])


def test_a_killed_process_is_followed_by_one_that_goes_on_and_gives_the_same(
    desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker()
    job_id = desk.submit(model, TRAINED)
    until_checkpointed(desk, job_id)
    worker.busy_child().kill()
    job = desk.until_finished(job_id, SECONDS)
    assert job.attempt == 2
    assert 1 <= went_on_after(job) < EPOCHS
    assert job.checkpoint_sha256 is None
    with desk.database.begin() as session:  # nothing is left of it but what the job made
        made = {artifact.sha256 for artifact in artifacts.list_for(session, job_id)}
        assert set(session.scalars(select(Blob.sha256))) == made | {report_of(job)["model"]["sha256"]}
    undisturbed = desk.until_finished(desk.submit(model, TRAINED), SECONDS)
    assert [epoch["number"] for epoch in report_of(job)["training"]] == list(range(EPOCHS + 1))
    assert report_of(undisturbed)["training"] == report_of(job)["training"]


def test_a_killed_worker_is_followed_by_one_that_goes_on(
    desk: Desk, model: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker()
    job_id = desk.submit(model, TRAINED)
    until_checkpointed(desk, job_id)
    worker.send(signal.SIGKILL)
    start_worker()
    job = desk.until_finished(job_id, SECONDS)
    assert job.attempt == 2
    assert 1 <= went_on_after(job) < EPOCHS
    assert len(report_of(job)["training"]) == EPOCHS + 1

"""What of a child's progress comes into the database, and how often."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, get_args
from uuid import uuid4

import pytest
from sqlalchemy import text
from working import QUICK, Desk, wait_until

from octet.progress import Progress, Stage
from store import leases, locks
from worker.reporter import Reporter
from worker.watch import Crashed

if TYPE_CHECKING:
    from pathlib import Path

    from store.tables import Job

_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
STAGES: tuple[Stage, ...] = get_args(Stage)


@pytest.fixture
def job(desk: Desk, model: Path) -> Job:
    """A job that this process has."""
    with desk.database.begin() as session:
        job = leases.claim(session, desk.submit(model, QUICK, hint=False), uuid4(), 600)
    assert job is not None
    return job


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    path.write_bytes(b"first")
    return path


@pytest.fixture
def reporter(desk: Desk, job: Job, checkpoint: Path) -> Reporter:
    return Reporter(desk.database, job, checkpoint, limit=2**20)


def heard(desk: Desk, job: Job) -> list[str | None]:
    """The stages that it is known to have been in."""
    return [event.stage for event in desk.events(job.id) if event.kind == "progress"]


def kept(desk: Desk, job: Job) -> str | None:
    return desk.job(job.id).checkpoint_sha256


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_stage_is_told_however_soon_the_next_one_comes(desk: Desk, job: Job, reporter: Reporter) -> None:
    with reporter:
        for number, stage in enumerate(STAGES):
            reporter.hear(Progress(stage=stage, fraction=number / len(STAGES)))
    assert heard(desk, job) == list(STAGES)
    assert desk.job(job.id).progress == (len(STAGES) - 1) / len(STAGES)


def test_a_checkpoint_is_kept_as_soon_as_there_is_one(
    desk: Desk, job: Job, reporter: Reporter, checkpoint: Path
) -> None:
    with reporter:
        reporter.hear_of_checkpoint()
        wait_until(lambda: kept(desk, job) == sha256(checkpoint))


def test_keeping_checkpoints_takes_but_a_part_of_the_time_and_the_last_is_there_after_a_crash(
    desk: Desk, job: Job, reporter: Reporter, checkpoint: Path
) -> None:
    def train() -> None:
        with desk.database.begin() as session:
            locks.content(session, sha256(checkpoint))  # so that keeping it takes long
            reporter.hear_of_checkpoint()
            wait_until(lambda: session.scalar(text(_WAITING)))
            began = time.monotonic()
            wait_until(lambda: time.monotonic() > began + 0.5)
        first = wait_until(lambda: kept(desk, job))
        checkpoint.write_bytes(b"second")
        reporter.hear_of_checkpoint()
        for stage in STAGES[:2]:  # for two of its rounds
            reporter.hear(Progress(stage=stage, fraction=0.1))
            wait_until(lambda stage=stage: stage in heard(desk, job))
        assert kept(desk, job) == first
        message = "was killed"
        raise Crashed(message)

    with pytest.raises(Crashed), reporter:
        train()
    assert kept(desk, job) == sha256(checkpoint)


def test_a_child_that_goes_back_and_forth_is_in_each_stage_once(desk: Desk, job: Job, reporter: Reporter) -> None:
    with reporter:
        for number in range(50):
            for stage in STAGES:
                reporter.hear(Progress(stage=stage, fraction=0.0))
            if number % 10 == 0:
                reporter._tell()  # noqa: SLF001 - as its thread does, now and then
    assert heard(desk, job) == list(STAGES)

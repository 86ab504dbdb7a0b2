"""A job's files on their way to its child."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update
from working import QUICK, Desk

from store import blobs, leases
from store.tables import BlobChunk
from worker.alarm import Alarm, Interrupted
from worker.inputs import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    alarm = Alarm()
    yield alarm
    alarm.close()


def test_a_damaged_checkpoint_is_left_out(desk: Desk, model: Path, tmp_path: Path, alarm: Alarm) -> None:
    job_id = desk.submit(model, QUICK, hint=False)
    (tmp_path / "kept").write_bytes(b"weights")
    with desk.database.begin() as session, (tmp_path / "kept").open("rb") as file:
        job = leases.claim(session, job_id, job_id, 60)
        assert job is not None
        assert leases.keep_checkpoint(session, job_id, job.attempt, file)
    assert fetch(desk.database, desk.job(job_id), tmp_path, alarm)[0].checkpoint.read_bytes() == b"weights"
    with desk.database.begin() as session:
        sha256 = desk.job(job_id).checkpoint_sha256
        session.execute(update(BlobChunk).where(BlobChunk.sha256 == sha256).values(data=b"other!!"))
        assert b"".join(blobs.read(session, str(sha256))) == b"other!!"
    assert not fetch(desk.database, desk.job(job_id), tmp_path, alarm)[0].checkpoint.exists()


def test_a_job_that_must_end_is_not_copied_to_its_end(desk: Desk, model: Path, tmp_path: Path, alarm: Alarm) -> None:
    job_id = desk.submit(model, QUICK, hint=False)
    alarm.ring("cancelled")
    with pytest.raises(Interrupted):
        fetch(desk.database, desk.job(job_id), tmp_path, alarm)
    assert (tmp_path / "model.pt2").stat().st_size == 0

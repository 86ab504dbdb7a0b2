"""What an attempt leaves for the next one: the last of it, and only as long as there may be a next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select
from storing import CONTENT, OWNER, keep_checkpoint, queue, reconcile, run_out, start

from store import blobs, jobs, leases
from store.tables import Blob, Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.orm import Session

    from octet.report import Report
    from store.database import Database


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (path := tmp_path / "checkpoint").write_bytes(b"epoch 1")
    return path


def _contents(session: Session) -> set[bytes]:
    """Everything that is stored, but for the model."""
    return {b"".join(blobs.read(session, sha256)) for sha256 in session.scalars(select(Blob.sha256))} - {CONTENT}


def test_a_checkpoint_takes_the_place_of_the_one_before(database: Database, running: Job, file: Path) -> None:
    for content in (b"epoch 1", b"epoch 2", b"epoch 2"):
        file.write_bytes(content)
        with database.begin() as session:
            assert keep_checkpoint(session, running, file)
        with database.begin() as session:
            assert _contents(session) == {content}


def test_the_next_attempt_finds_it(database: Database, running: Job, file: Path) -> None:
    with database.begin() as session:
        assert keep_checkpoint(session, running, file)
        assert leases.crash(session, running.id, running.attempt, "It crashed.", max_attempts=2)
    with database.begin() as session:
        again = start(session, running.id)
        assert again.attempt == 2
        assert again.checkpoint_sha256 is not None
        assert b"".join(blobs.read(session, again.checkpoint_sha256)) == b"epoch 1"


def _cancel(session: Session, job: Job, _: Report) -> None:
    jobs.cancel(session, job.id, owner_id=OWNER)
    leases.confirm_cancelled(session, job.id, job.attempt)


def _cancel_while_queued(session: Session, job: Job, _: Report) -> None:
    leases.release(session, job.id, job.attempt)
    jobs.cancel(session, job.id, owner_id=OWNER)


def _give_up(session: Session, job: Job, _: Report) -> None:
    run_out(session, job.id)
    reconcile(session, max_attempts=1)


@pytest.mark.parametrize(
    "end",
    [
        lambda session, job, report: leases.succeed(session, job.id, job.attempt, report, []),
        lambda session, job, _: leases.fail(session, job.id, job.attempt, {"code": "x", "message": "x"}),
        _cancel,
        _cancel_while_queued,
        _give_up,
    ],
)
def test_nothing_of_it_is_left_when_the_job_has_ended(
    database: Database, running: Job, report: Report, file: Path, end: Callable[[Session, Job, Report], object]
) -> None:
    with database.begin() as session:
        assert keep_checkpoint(session, running, file)
    with database.begin() as session:
        end(session, running, report)
    with database.begin() as session:
        job = jobs.get(session, running.id, owner_id=OWNER)
        assert (job.lease_until, job.checkpoint_sha256) == (None, None)
        assert _contents(session) == set()


def test_two_jobs_with_the_same_checkpoint_do_not_take_it_from_each_other(
    database: Database, running: Job, file: Path
) -> None:
    with database.begin() as session:
        other = start(session, queue(session, running.model_id).id)
        for job in (running, other):
            assert keep_checkpoint(session, job, file)
    with database.begin() as session:
        leases.fail(session, running.id, running.attempt, {"code": "x", "message": "x"})
        assert _contents(session) == {b"epoch 1"}
        leases.fail(session, other.id, other.attempt, {"code": "x", "message": "x"})
        assert _contents(session) == set()

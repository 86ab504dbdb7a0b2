"""Which job a worker gets, and what becomes of jobs that no worker finishes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update
from storing import queue, reconcile, run_out, start, together

from store import artifacts, jobs, leases, workers
from store.protocol import PROTOCOL, needed
from store.tables import Blob, Job, Worker

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

    from octet.report import Report
    from store.database import Database


def _next(session: Session) -> UUID | None:
    job = leases.claim_next(session, uuid4(), 60)
    return None if job is None else job.id


def _queue(database: Database, number: int) -> list[UUID]:
    """Ids of new jobs, each in a transaction and so at a time of its own, the oldest first."""
    made = []
    for _ in range(number):
        with database.begin() as session:
            made.append(queue(session).id)
    return made


def test_the_job_that_waited_longest_is_taken_first(database: Database) -> None:
    made = _queue(database, 3)
    with database.begin() as session:
        leases.release(session, start(session, made[0]).id, 1)  # it keeps its place
        assert leases.any_waiting(session)
        assert [_next(session) for _ in range(4)] == [*made, None]
        assert not leases.any_waiting(session)


def test_a_job_that_a_worker_has_handed_back_comes_after_all_others(database: Database) -> None:
    first, second = _queue(database, 2)
    with database.begin() as session:
        for expected in (second, first):
            job = leases.claim_next(session, uuid4(), 60, last={first})
            assert job is not None
            assert job.id == expected


def test_workers_that_look_at_once_get_different_jobs(database: Database) -> None:
    made = _queue(database, 6)
    assert sorted(together(database, *[_next] * 6)) == sorted(made)


def test_a_job_newer_than_the_worker_knows_is_left_to_others_and_holds_up_nobody(database: Database) -> None:
    newer, known = _queue(database, 2)
    with database.begin() as session:
        session.execute(update(Job).where(Job.id == newer).values(protocol=PROTOCOL + 1))
        assert leases.claim(session, newer, uuid4(), 60) is None
        assert _next(session) == known
        assert not leases.any_waiting(session)


def test_a_job_asks_for_no_more_than_its_recipe_needs(database: Database) -> None:
    with database.begin() as session:
        assert queue(session).protocol == 1
    assert needed({"method": "static", "timeout_seconds": 60.0}) == 2


def test_a_worker_registers_what_it_knows(database: Database) -> None:
    with database.begin() as session:
        workers.register(session, worker := uuid4(), "host", 1, "0", 1, [])
        assert session.get_one(Worker, worker).protocol == PROTOCOL


def test_a_worker_that_was_away_itself_judges_nobody(database: Database, running: Job) -> None:
    with database.begin() as session:
        run_out(session, running.id)
        workers.register(session, worker := uuid4(), "host", 1, "0", 1, [])
        session.execute(update(Worker).values(seen_at=func.now() - timedelta(seconds=25)))
        leases.reconcile(session, worker, lease_seconds=30, max_attempts=3)
        assert leases.renew(session, running.id, 1, 30) == "running"
        run_out(session, running.id)
        workers.register(session, worker, "host", 1, "0", 1, [])
        leases.reconcile(session, worker, lease_seconds=30, max_attempts=3)
        assert leases.renew(session, running.id, 1, 30) is None


def test_a_job_that_is_given_up_says_what_happened_attempt_by_attempt(database: Database) -> None:
    with database.begin() as session:
        job_id = queue(session).id
        leases.crash(session, job_id, start(session, job_id).attempt, "The process was killed.", max_attempts=3)
        assert session.get_one(Job, job_id).message == "The process was killed."
        leases.release(session, job_id, start(session, job_id).attempt)
        start(session, job_id)
        run_out(session, job_id)
        reconcile(session)
        assert leases.crash(session, job_id, start(session, job_id).attempt, "It was killed.", max_attempts=3)
        job = session.get_one(Job, job_id)
        session.refresh(job)
        assert (job.state, job.attempt, job.lease_until) == ("failed", 4, None)
        assert job.error is not None
        assert job.error["code"] == "crashed"
        assert job.error["message"] == (
            "The job was given up. Attempt 1: The process was killed. Attempt 3: The job's worker was lost. "
            "Attempt 4: It was killed."
        )


def test_a_crash_of_a_job_that_is_being_cancelled_ends_nothing(database: Database, running: Job) -> None:
    with database.begin() as session:
        jobs.cancel(session, running.id, owner_id=running.owner_id)
        assert not leases.crash(session, running.id, 1, "It was killed.", max_attempts=1)
        assert leases.confirm_cancelled(session, running.id, 1)


@pytest.mark.parametrize("first", ["cancel", "succeed"])
def test_of_a_cancellation_and_a_success_at_once_one_holds(
    database: Database, report: Report, tmp_path: Path, first: str
) -> None:
    (tmp_path / "model.pt").write_bytes(b"int8")
    files = [("model.pt", "application/octet-stream", tmp_path / "model.pt")]
    for _ in range(100):
        with database.begin() as session:
            job = start(session)
        race = {
            "cancel": lambda session, job=job: jobs.cancel(session, job.id, owner_id=job.owner_id),
            "succeed": lambda session, job=job: (
                leases.succeed(session, job.id, 1, report, files) or leases.confirm_cancelled(session, job.id, 1)
            ),
        }
        together(database, *(race[name] for name in sorted(race, key=lambda name: name != first)))
        with database.begin() as session:
            ended = session.get_one(Job, job.id)
            kept = len(artifacts.list_for(session, job.id))
            assert (ended.state, kept, ended.report is None) in {("succeeded", 1, False), ("cancelled", 0, True)}
    with database.begin() as session:
        assert session.scalar(select(func.count()).select_from(Blob).where(Blob.size == len(b"int8"))) <= 1

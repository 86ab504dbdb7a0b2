"""How long jobs ran, counted as they end."""

from __future__ import annotations

from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, update
from storing import queue, start, together

from octet.recipe import Recipe
from store import durations, jobs, leases
from store.durations import Kind
from store.tables import Job, JobStatistic

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

    from store.database import Database


def _ran(session: Session, job_id: UUID, seconds: float) -> None:
    session.execute(update(Job).where(Job.id == job_id).values(running_at=func.now() - timedelta(seconds=seconds)))


def _recipe(engine: str) -> dict[str, object]:
    return Recipe(engine=engine).model_dump(mode="json")


def test_ended_jobs_are_counted_by_recipe_outcome_and_duration(database: Database) -> None:
    for seconds in (0.4, 0.5, 7, 9000):
        with database.begin() as session:
            job = start(session)
            _ran(session, job.id, seconds)
            assert leases.fail(session, job.id, job.attempt, {"code": "c", "message": "m"})
    with database.begin() as session:
        (found,) = durations.histograms(session).items()

    kind, histogram = found
    assert kind == Kind(Recipe().method, Recipe().engine, "failed")
    assert histogram.jobs == {0.5: 2, 10.0: 1, float("inf"): 1}
    assert histogram.seconds == pytest.approx(9007.9)


def test_a_job_that_never_ran_is_counted_with_no_time(database: Database) -> None:
    with database.begin() as session:
        job = queue(session)
        jobs.transition(session, job.id, "cancelled")
    with database.begin() as session:
        (histogram,) = durations.histograms(session).values()
        assert (histogram.jobs, histogram.seconds) == ({0.5: 1}, 0.0)


def test_a_job_whose_end_is_rolled_back_is_not_counted(database: Database) -> None:
    with database.begin() as session:
        job = start(session)
    with database.begin() as session:
        leases.fail(session, job.id, job.attempt, {"code": "c", "message": "m"})
        session.rollback()
    with database.begin() as session:
        assert durations.histograms(session) == {}


def test_the_counts_outlive_the_jobs(database: Database) -> None:
    with database.begin() as session:
        job = start(session)
        leases.fail(session, job.id, job.attempt, {"code": "c", "message": "m"})
    with database.begin() as session:
        session.delete(session.get_one(Job, job.id))
    with database.begin() as session:
        assert session.scalar(select(func.sum(JobStatistic.jobs))) == 1


def test_transactions_that_end_several_jobs_in_any_order_never_wait_for_each_other(database: Database) -> None:
    engines = ("fbgemm", "x86")
    with database.begin() as session:
        ids = [[queue(session, recipe=_recipe(engine)).id for engine in order] for order in (engines, engines[::-1])]
    both = Barrier(2)

    def end(session: Session, first: UUID, second: UUID) -> None:
        jobs.transition(session, first, "cancelled")
        both.wait(10)  # each has now ended the kind of job that the other will end next
        jobs.transition(session, second, "cancelled")

    results = together(database, *(lambda session, pair=pair: end(session, *pair) for pair in ids))

    assert results == [None, None]
    with database.begin() as session:
        assert [each.jobs.total() for each in durations.histograms(session).values()] == [2, 2]

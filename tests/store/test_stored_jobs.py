"""Jobs as their submitter sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update
from storing import OWNER, queue, start, together, upload

from store import events, jobs, keys, leases, uploads
from store.errors import DatasetDeletedError, IdempotencyMismatchError, JobEndedError, NotFoundError
from store.states import FINISHED, STATES, TRANSITIONS
from store.tables import Job, JobEvent

if TYPE_CHECKING:
    from store.database import Database


def test_a_new_job_is_queued_and_says_so(database: Database) -> None:
    with database.begin() as session:
        job = queue(session, name="first")
        assert (job.state, job.attempt, job.progress, job.name) == ("queued", 0, 0.0, "first")
        assert job.queued_at == session.scalar(select(func.now()))
        assert job.queued_at.utcoffset().total_seconds() == 0
        assert [(event.kind, event.state) for event in events.list_events(session, job.id)] == [("state", "queued")]


def test_a_job_needs_a_model_and_data_that_are_there(database: Database) -> None:
    with database.begin() as session:
        dataset = upload(session, "dataset")
        uploads.delete(session, "dataset", dataset.id, owner_id=OWNER)
        with pytest.raises(NotFoundError):
            queue(session, uuid4())
        with pytest.raises(DatasetDeletedError):
            queue(session, evaluation_id=dataset.id)
        with pytest.raises(NotFoundError, match="There is no job"):
            jobs.get(session, uuid4(), owner_id=OWNER)


def test_the_same_idempotency_key_gives_the_same_job(database: Database) -> None:
    with database.begin() as session:
        model = upload(session)
        repeatable = {"key_id": keys.create(session, "caller")[0].id, "idempotency_key": "k"}
        first = queue(session, model.id, **repeatable)
        jobs.cancel(session, first.id, owner_id=OWNER)
        uploads.delete(session, "model", model.id, owner_id=OWNER)
        assert queue(session, model.id, **repeatable).id == first.id
        with pytest.raises(IdempotencyMismatchError):
            queue(session, model.id, **repeatable, request_sha256="1" * 64)


def test_callers_may_choose_the_same_idempotency_key(database: Database) -> None:
    with database.begin() as session:
        assert queue(session, idempotency_key="k").id != queue(session, idempotency_key="k").id


def test_the_same_idempotency_key_at_once_makes_one_job(database: Database) -> None:
    with database.begin() as session:
        model = upload(session)
        repeatable = {"key_id": keys.create(session, "caller")[0].id, "idempotency_key": "k"}
    made = together(database, *[lambda session: queue(session, model.id, **repeatable)] * 4)
    assert len({job.id for job in made}) == 1
    with database.begin() as session:
        assert session.scalar(select(func.count()).select_from(JobEvent)) == 1


def test_the_queue_position_counts_those_ahead(database: Database) -> None:
    made = []
    for _ in range(3):
        with database.begin() as session:
            made.append(queue(session).id)
    with database.begin() as session:
        assert [jobs.queue_position(session, jobs.get(session, job, owner_id=OWNER)) for job in made] == [0, 1, 2]
        start(session, made[0])
        assert [jobs.queue_position(session, jobs.get(session, job, owner_id=OWNER)) for job in made] == [None, 0, 1]


def test_jobs_are_listed_newest_first_and_by_state(database: Database) -> None:
    made = []
    for _ in range(3):
        with database.begin() as session:
            made.insert(0, queue(session).id)
    with database.begin() as session:
        start(session, made[1])
        page = jobs.list_page(session, owner_id=OWNER, status=None, limit=2, after=None)
        assert ([job.id for job in page.rows], page.has_more, page.next) == (made[:2], True, made[1])
        page = jobs.list_page(session, owner_id=OWNER, status=None, limit=2, after=page.next)
        assert ([job.id for job in page.rows], page.has_more, page.next) == (made[2:], False, None)
        page = jobs.list_page(session, owner_id=OWNER, status="running", limit=2, after=None)
        assert [job.id for job in page.rows] == [made[1]]


def test_a_queued_job_is_cancelled_at_once(database: Database) -> None:
    with database.begin() as session:
        job = queue(session)
        assert jobs.cancel(session, job.id, owner_id=OWNER).state == "cancelled"
        assert job.cancelled_at is not None
        assert job.cancelling_at is None


def test_a_running_job_is_cancelled_by_its_worker(database: Database, running: Job) -> None:
    with database.begin() as session:
        assert jobs.cancel(session, running.id, owner_id=OWNER).state == "cancelling"
        assert jobs.cancel(session, running.id, owner_id=OWNER).state == "cancelling"
        assert leases.renew(session, running.id, running.attempt, 60) == "cancelling"
        assert leases.confirm_cancelled(session, running.id, running.attempt)
        with pytest.raises(JobEndedError, match="has already been cancelled") as ended:
            jobs.cancel(session, running.id, owner_id=OWNER)
        assert ended.value.state == "cancelled"
        with pytest.raises(NotFoundError):
            jobs.cancel(session, uuid4(), owner_id=OWNER)


@pytest.mark.parametrize("to", STATES)
@pytest.mark.parametrize("state", STATES)
def test_a_job_changes_its_state_as_the_table_says(database: Database, state: str, to: str) -> None:
    with database.begin() as session:
        job = queue(session)
        session.execute(update(Job).values(state=state))
        allowed = to in TRANSITIONS[state]
        assert jobs.transition(session, job.id, to) == allowed
        session.refresh(job)
        assert job.state == (to if allowed else state)
        assert [event.state for event in events.list_events(session, job.id)] == ["queued", *([to] if allowed else [])]
        if allowed:
            assert getattr(job, f"{to}_at") == session.scalar(select(func.now()))


def test_cancelling_against_succeeding_has_one_winner(database: Database, report: object) -> None:
    for _ in range(10):
        with database.begin() as session:
            job = start(session)
        cancelled, succeeded = together(
            database,
            lambda session, job=job: jobs.cancel(session, job.id, owner_id=OWNER).state,
            lambda session, job=job: leases.succeed(session, job.id, job.attempt, report, []),
        )
        with database.begin() as session:
            state = jobs.get(session, job.id, owner_id=OWNER).state
            seen = [event.state for event in events.list_events(session, job.id)]
        if succeeded:
            assert isinstance(cancelled, JobEndedError)
            assert (state, seen) == ("succeeded", ["queued", "running", "succeeded"])
        else:
            assert (cancelled, state, seen) == ("cancelling", "cancelling", ["queued", "running", "cancelling"])


def test_cancelling_against_claiming_has_one_winner(database: Database) -> None:
    for _ in range(10):
        with database.begin() as session:
            job = queue(session)
        cancelled, claimed = together(
            database,
            lambda session, job=job: jobs.cancel(session, job.id, owner_id=OWNER).state,
            lambda session, job=job: leases.claim(session, job.id, uuid4(), 60),
        )
        assert (cancelled, claimed is None) in {("cancelled", True), ("cancelling", False)}


def test_events_are_listed_after_one_that_is_known(database: Database, running: Job) -> None:
    with database.begin() as session:
        queued, started = events.list_events(session, running.id)
        assert [event.id for event in events.list_events(session, running.id, after=queued.id)] == [started.id]
        assert [event.id for event in events.list_events(session, running.id, limit=1)] == [queued.id]


def test_finished_states_are_those_of_the_wire() -> None:
    assert {state for state in STATES if not TRANSITIONS[state]} == FINISHED

"""The worker's side: one holds the job, what it does late has no effect, and what it leaves is put right."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update
from storing import OWNER, keep_checkpoint, queue, reconcile, run_out, start, together

from octet.report import LayerFacts
from store import artifacts, blobs, events, jobs, leases, workers
from store.tables import Artifact, Blob, Job, LayerMetric, Metric, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.orm import Session

    from octet.report import Report
    from store.database import Database

    Files = list[tuple[str, str, Path]]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "model.pt").write_bytes(bytes(blobs.CHUNK + 5))
    (tmp_path / "report.json").write_bytes(b"{}")
    return [
        ("model.pt", "application/octet-stream", tmp_path / "model.pt"),
        ("report.json", "application/json", tmp_path / "report.json"),
    ]


def _states(session: Session, job_id: UUID) -> list[str]:
    return [event.state for event in events.list_events(session, job_id) if event.kind == "state"]


def test_a_claimed_job_runs_under_a_lease(database: Database) -> None:
    worker = uuid4()
    with database.begin() as session:
        job = leases.claim(session, queue(session).id, worker, lease_seconds=30)
        assert job is not None
        now = session.scalar(select(func.now()))
        assert (job.state, job.attempt, job.worker_id, job.running_at) == ("running", 1, worker, now)
        assert job.lease_until == now + timedelta(seconds=30)
        assert leases.claim(session, job.id, uuid4(), 30) is None
        assert leases.claim(session, uuid4(), worker, 30) is None


def test_of_many_who_claim_at_once_one_gets_the_job(database: Database) -> None:
    for _ in range(5):
        with database.begin() as session:
            job = queue(session)
        claims = together(database, *[lambda session, job=job: leases.claim(session, job.id, uuid4(), 30)] * 6)
        assert sum(claim is not None for claim in claims) == 1
        with database.begin() as session:
            assert jobs.get(session, job.id, owner_id=OWNER).attempt == 1


def test_renewing_prolongs_the_lease(database: Database, running: Job) -> None:
    with database.begin() as session:
        assert leases.renew(session, running.id, running.attempt, lease_seconds=600) == "running"
        session.refresh(job := jobs.get(session, running.id, owner_id=OWNER))
        assert job.lease_until == session.scalar(select(func.now())) + timedelta(seconds=600)
        assert leases.renew(session, running.id, running.attempt + 1, 60) is None
        assert leases.renew(session, uuid4(), 1, 60) is None


def test_progress_is_kept_and_never_goes_back(database: Database, running: Job) -> None:
    with database.begin() as session:
        assert leases.record_progress(session, running.id, 1, "calibrate", 0.25, "batch 1 of 4")
        assert leases.record_progress(session, running.id, 1, "calibrate", 0.2, "batch 2 of 4")
        job = jobs.get(session, running.id, owner_id=OWNER)
        assert (job.stage, job.progress, job.message) == ("calibrate", 0.25, "batch 2 of 4")
        assert not leases.record_progress(session, running.id, 2, "calibrate", 0.5, "of another attempt")


def test_progress_becomes_an_event_when_it_enters_a_stage_or_a_percent(database: Database, running: Job) -> None:
    with database.begin() as session:
        for step in range(500):
            leases.record_progress(session, running.id, 1, "train", step / 500, f"step {step}")
        assert leases.record_progress(session, running.id, 1, "convert", 0.9995, "")
        steps = [event for event in events.list_events(session, running.id) if event.kind == "progress"]
    assert len(steps) == 101  # entering the stage, 99 percents, and the next stage
    assert [event.id for event in steps] == sorted(event.id for event in steps)
    assert (steps[-1].stage, steps[-1].state, steps[-1].attempt) == ("convert", "running", 1)


def test_success_keeps_everything_at_once(database: Database, running: Job, report: Report, files: Files) -> None:
    with database.begin() as session:
        assert leases.succeed(session, running.id, running.attempt, report, files)
    with database.begin() as session:
        job = jobs.get(session, running.id, owner_id=OWNER)
        assert (job.state, job.progress, job.verdict, job.lease_until) == ("succeeded", 1.0, "passes", None)
        assert job.report == report.model_dump(mode="json")
        kept = artifacts.list_for(session, running.id)
        assert [(artifact.name, artifact.media_type) for artifact in kept] == [file[:2] for file in files]
        assert artifacts.get(session, kept[0].id, owner_id=OWNER).size == blobs.CHUNK + 5
        assert b"".join(blobs.read(session, kept[0].sha256)) == files[0][2].read_bytes()
        figures = jobs.metrics_of(session, [running.id])[running.id]
        assert [(figure.name, figure.value) for figure in figures] == [(m.name, m.value) for m in report.metrics()]
        layers = session.scalars(select(LayerMetric).order_by(LayerMetric.position)).all()
        fields = LayerFacts.model_fields
        assert [LayerFacts(**{name: getattr(layer, name) for name in fields}) for layer in layers] == [*report.layers]


def test_jobs_with_the_same_artifacts_end_at_once(database: Database, report: Report, files: Files) -> None:
    started = []
    for _ in range(4):
        with database.begin() as session:
            started.append(start(session))

    def succeed(job: Job, order: Files) -> Callable[[Session], bool]:
        return lambda session: leases.succeed(session, job.id, job.attempt, report, order)

    ends = [succeed(job, files if number % 2 else files[::-1]) for number, job in enumerate(started)]
    assert together(database, *ends) == [True] * 4


def _late_writes(job: Job, report: Report, files: Files) -> dict[str, Callable[[Session], object]]:
    return {
        "renew": lambda session: leases.renew(session, job.id, job.attempt, 60),
        "progress": lambda session: leases.record_progress(session, job.id, job.attempt, "measure", 0.9, "late"),
        "checkpoint": lambda session: keep_checkpoint(session, job, files[0][2]),
        "succeed": lambda session: leases.succeed(session, job.id, job.attempt, report, files),
        "fail": lambda session: leases.fail(session, job.id, job.attempt, {"code": "late", "message": "late"}),
        "confirm": lambda session: leases.confirm_cancelled(session, job.id, job.attempt),
        "release": lambda session: leases.release(session, job.id, job.attempt),
        "crash": lambda session: leases.crash(session, job.id, job.attempt, "late", max_attempts=3),
    }


@pytest.mark.parametrize("write", ["renew", "progress", "checkpoint", "succeed", "fail", "confirm", "release", "crash"])
@pytest.mark.parametrize("fate", ["queued again", "running again", "ended"])
def test_what_a_lost_attempt_writes_has_no_effect(  # noqa: PLR0917 - fixtures
    database: Database, running: Job, report: Report, files: Files, fate: str, write: str
) -> None:
    with database.begin() as session:
        run_out(session, running.id)
        reconcile(session)
        if fate != "queued again":
            again = start(session, running.id)
        if fate == "ended":
            leases.fail(session, running.id, again.attempt, {"code": "x", "message": "x"})
    with database.begin() as session:
        blobs_before = session.scalar(select(func.count()).select_from(Blob))
        states = _states(session, running.id)
    with database.begin() as session:
        assert not _late_writes(running, report, files)[write](session)
    with database.begin() as session:
        assert _states(session, running.id) == states
        assert session.scalar(select(func.count()).select_from(Blob)) == blobs_before
        assert session.scalar(select(func.count()).select_from(Artifact)) == 0
        assert session.scalar(select(func.count()).select_from(Metric)) == 0


def test_a_failure_says_why(database: Database, running: Job) -> None:
    error = {"code": "quantization_failed", "message": "It did not work \x00.", "hint": None}
    with database.begin() as session:
        assert leases.fail(session, running.id, running.attempt, error)
    with database.begin() as session:
        job = jobs.get(session, running.id, owner_id=OWNER)
        assert (job.state, job.lease_until) == ("failed", None)
        assert job.error == {"code": "quantization_failed", "message": "It did not work \ufffd.", "hint": None}


def test_a_job_that_is_being_cancelled_can_only_be_cancelled(database: Database, running: Job, report: Report) -> None:
    with database.begin() as session:
        jobs.cancel(session, running.id, owner_id=OWNER)
        assert not leases.succeed(session, running.id, running.attempt, report, [])
        assert not leases.fail(session, running.id, running.attempt, {})
        assert not leases.release(session, running.id, running.attempt)
        assert leases.confirm_cancelled(session, running.id, running.attempt)


def test_a_job_handed_back_is_queued_at_its_old_place(database: Database, running: Job) -> None:
    with database.begin() as session:
        leases.record_progress(session, running.id, 1, "train", 0.5, "half")
        assert leases.release(session, running.id, running.attempt)
        job = jobs.get(session, running.id, owner_id=OWNER)
        assert (job.state, job.stage, job.progress, job.message, job.worker_id) == ("queued", None, 0.0, "", None)
        assert job.queued_at == running.queued_at
        assert start(session, running.id).attempt == 2


def test_attempts_handed_back_do_not_count(database: Database, running: Job) -> None:
    with database.begin() as session:
        assert leases.release(session, running.id, 1)
        for attempt, end in ((2, "queued"), (3, "queued"), (4, "failed")):
            assert start(session, running.id).attempt == attempt
            run_out(session, running.id)
            reconcile(session, max_attempts=3)
            assert jobs.get(session, running.id, owner_id=OWNER).state == end
        assert jobs.get(session, running.id, owner_id=OWNER).error["code"] == "attempts_exhausted"


def test_a_lost_job_is_queued_again(database: Database, running: Job) -> None:
    with database.begin() as session:
        reconcile(session)
        assert _states(session, running.id) == ["queued", "running"]
        run_out(session, running.id)
        reconcile(session)
        assert _states(session, running.id) == ["queued", "running", "queued"]


def test_a_lost_job_that_was_being_cancelled_is_cancelled(database: Database, running: Job) -> None:
    with database.begin() as session:
        jobs.cancel(session, running.id, owner_id=OWNER)
        run_out(session, running.id)
        reconcile(session)
        assert jobs.get(session, running.id, owner_id=OWNER).state == "cancelled"


def test_two_reconcilers_at_once_do_the_work_once(database: Database) -> None:
    for _ in range(5):
        with database.begin() as session:
            job = start(session)
            run_out(session, job.id)
        together(database, reconcile, reconcile, reconcile)
        with database.begin() as session:
            assert _states(session, job.id) == ["queued", "running", "queued"]
            jobs.cancel(session, job.id, owner_id=OWNER)


def test_one_reconciler_works_while_others_do_not_wait(database: Database, running: Job) -> None:
    with database.begin() as first:
        run_out(first, running.id)
    with database.begin() as first, database.begin() as second:
        reconcile(first)
        reconcile(second)
        assert [_states(session, running.id)[-1] for session in (first, second)] == ["queued", "running"]


def test_a_job_that_its_worker_is_just_ending_is_not_lost(database: Database, running: Job, report: Report) -> None:
    with database.begin() as session:
        run_out(session, running.id)
    with database.begin() as worker, database.begin() as reconciler:
        assert leases.succeed(worker, running.id, running.attempt, report, [])
        reconcile(reconciler)
    with database.begin() as session:
        assert jobs.get(session, running.id, owner_id=OWNER).state == "succeeded"


def test_reconciling_against_a_late_success_has_one_winner(database: Database, report: Report) -> None:
    for _ in range(10):
        with database.begin() as session:
            job = start(session)
            run_out(session, job.id)
        succeeded, _ = together(
            database, lambda session, job=job: leases.succeed(session, job.id, job.attempt, report, []), reconcile
        )
        with database.begin() as session:
            assert jobs.get(session, job.id, owner_id=OWNER).state == ("succeeded" if succeeded else "queued")


def test_workers_are_listed_while_they_are_heard_of(database: Database) -> None:
    worker = uuid4()
    with database.begin() as session:
        workers.register(session, worker, "host", 42, "0.1.0", 2, ["x86"])
        workers.register(session, worker, "host", 43, "0.1.0", 2, ["x86", "onednn"])
        job = leases.claim(session, queue(session).id, worker, 60)
        assert job is not None
        ((row, running),) = workers.list_alive(session, within_seconds=30)
        assert (row.id, row.pid, row.engines, running) == (worker, 43, ["x86", "onednn"], [job.id])
        session.execute(update(Worker).values(seen_at=func.now() - timedelta(seconds=31)))
        assert workers.list_alive(session, within_seconds=30) == []
        workers.register(session, worker, "host", 43, "0.1.0", 2, [])
        assert len(workers.list_alive(session, within_seconds=30)) == 1
        workers.forget(session, worker)
        assert workers.list_alive(session, within_seconds=30) == []


def test_workers_that_are_lost_are_forgotten(database: Database) -> None:
    worker = uuid4()
    with database.begin() as session:
        workers.register(session, worker, "host", 42, "0.1.0", 1, [])
        reconcile(session)
        assert session.get(Worker, worker) is not None
        session.execute(update(Worker).values(seen_at=func.now() - timedelta(seconds=31)))
        reconcile(session)
        assert session.get(Worker, worker, populate_existing=True) is None

"""What expires, what is purged, and what stays."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from threading import Event, Thread
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import func, insert, select, update
from storing import OWNER, queue, start, together, upload, wait_until_one_waits

from store import audit, blobs, jobs, keys, leases, retention, uploads
from store.errors import InUseError, InvalidExpiryError, JobUnfinishedError, NotFoundError
from store.tables import Artifact, AuditEntry, Blob, Dataset, Job, JobEvent, LayerMetric, Metric, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy.orm import Session

    from octet.report import Report
    from store.database import Database
    from store.tables import Base

ACTOR = audit.Actor(owner_id=OWNER)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def _count(session: Session, *tables: type[Base]) -> list[int]:
    return [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def _actions(session: Session) -> list[tuple[str, str | None]]:
    return [(entry.action, entry.subject_id) for entry in session.scalars(select(AuditEntry).order_by(AuditEntry.id))]


@pytest.fixture
def finished(database: Database, report: Report, tmp_path: Path) -> Job:
    """A job that has succeeded, with two artifacts."""
    files = [tmp_path / "model.pt", tmp_path / "report.json"]
    for file in files:
        file.write_text(file.name, encoding="utf-8")
    with database.begin() as session:
        job = start(session)
        artifacts = [(file.name, "application/octet-stream", file) for file in files]
        assert leases.succeed(session, job.id, job.attempt, report, artifacts)
        return jobs.get(session, job.id, owner_id=OWNER)


def _expire(session: Session, table: type[Job | Model | Dataset], row_id: UUID) -> None:
    session.execute(update(table).where(table.id == row_id).values(expires_at=LONG_AGO))


def test_a_purged_job_takes_all_with_it_but_the_audit_entry(database: Database, finished: Job) -> None:
    with database.begin() as session:
        retention.purge_job(session, finished.id, actor=ACTOR, owner_id=OWNER)
        assert _count(session, Job, JobEvent, Artifact, Metric, LayerMetric) == [0] * 5
        assert _count(session, Model, Blob) == [1, 1]
        assert ("job.purge", str(finished.id)) in _actions(session)
        with pytest.raises(NotFoundError):
            retention.purge_job(session, finished.id, actor=ACTOR, owner_id=OWNER)


def test_an_artifact_that_another_job_made_too_stays_for_that_one(
    database: Database, finished: Job, report: Report, tmp_path: Path
) -> None:
    with database.begin() as session:
        other = start(session, queue(session, finished.model_id).id)
        artifacts = [("model.pt", "application/octet-stream", tmp_path / "model.pt")]
        assert leases.succeed(session, other.id, other.attempt, report, artifacts)
        retention.purge_job(session, finished.id, actor=ACTOR, owner_id=OWNER)
        [left] = session.scalars(select(Artifact))
        assert b"".join(blobs.read(session, left.sha256)) == b"model.pt"


@pytest.mark.parametrize("state", ["queued", "running", "cancelling"])
def test_an_unfinished_job_is_not_purged(database: Database, state: str) -> None:
    with database.begin() as session:
        job = queue(session)
        if state != "queued":
            start(session, job.id)
        if state == "cancelling":
            jobs.cancel(session, job.id, owner_id=OWNER)
        with pytest.raises(JobUnfinishedError) as caught:
            retention.purge_job(session, job.id, actor=ACTOR, owner_id=OWNER)
        assert caught.value.state == state
        cancelled = queue(session, job.model_id, key_id=job.key_id)
        jobs.cancel(session, cancelled.id, owner_id=OWNER)
    with pytest.raises(InUseError):
        retention.purge_upload(database, "model", job.model_id, actor=ACTOR, owner_id=OWNER)
    with database.begin() as session:
        assert _count(session, Job, Model) == [2, 1]


def test_another_owner_purges_nothing(database: Database, finished: Job) -> None:
    with database.begin() as session, pytest.raises(NotFoundError):
        retention.purge_job(session, finished.id, actor=ACTOR, owner_id=uuid4())
    with pytest.raises(NotFoundError):
        retention.purge_upload(database, "model", finished.model_id, actor=ACTOR, owner_id=uuid4())
    with database.begin() as session:
        assert _count(session, Job, Model) == [1, 1]


def test_a_purged_model_takes_the_jobs_with_it_that_used_it(database: Database, finished: Job) -> None:
    retention.purge_upload(database, "model", finished.model_id, actor=ACTOR, owner_id=OWNER)
    with database.begin() as session:
        assert _count(session, Job, Artifact, Model, Blob) == [0] * 4
        done = {action for action, _ in _actions(session)}
        assert {"job.purge", "model.purge"} <= done


def test_what_a_plain_delete_left_can_be_purged(database: Database, finished: Job) -> None:
    with database.begin() as session:
        uploads.delete(session, "model", finished.model_id, owner_id=OWNER)
    with pytest.raises(NotFoundError):
        retention.purge_upload(database, "model", finished.model_id, actor=ACTOR, owner_id=uuid4())
    retention.purge_upload(database, "model", finished.model_id, actor=ACTOR, owner_id=OWNER)
    with database.begin() as session:
        assert _count(session, Job, Artifact, Model, Blob) == [0] * 4
        assert {"job.purge", "model.purge"} <= {action for action, _ in _actions(session)}


def _ended(session: Session, model_id: UUID, contents: Sequence[str]) -> None:
    """Jobs of a model, each with an artifact of one of these contents, in this order."""
    rows = [queue(session, model_id, key_id=keys.create(session, "test")[0].id) for _ in contents]
    for job, content in zip(sorted(rows, key=lambda row: row.id), contents, strict=True):
        jobs.cancel(session, job.id, owner_id=OWNER)
        session.execute(insert(Artifact).values(job_id=job.id, name="a", media_type="x", sha256=content, size=0))


def test_models_whose_jobs_made_the_same_are_purged_at_the_same_moment(database: Database) -> None:
    contents = [f"{number:064}" for number in range(8)]
    with database.begin() as session:
        session.execute(insert(Blob), [{"sha256": content, "size": 0} for content in contents])
        models = [upload(session, content=content).id for content in (b"one", b"other")]
        _ended(session, models[0], contents)
        _ended(session, models[1], contents[::-1])

    def purge(model_id: UUID) -> Callable[[Session], None]:
        return lambda _: retention.purge_upload(database, "model", model_id, actor=ACTOR, owner_id=OWNER)

    assert together(database, *map(purge, models)) == [None, None]
    with database.begin() as session:
        assert _count(session, Job, Model, Blob) == [0] * 3


def test_each_job_of_a_purged_model_is_a_transaction_of_its_own(database: Database) -> None:
    """All of them in one would need more locks than Postgres has, where thousands of jobs used the model."""
    with database.begin() as session:
        model_id = upload(session).id
        session.execute(insert(Blob).values(sha256="0" * 64, size=0))
        _ended(session, model_id, ["0" * 64] * 3)
    retention.purge_upload(database, "model", model_id, actor=ACTOR, owner_id=OWNER)
    with database.begin() as session:
        began = session.scalars(select(AuditEntry.at).where(AuditEntry.action.in_(["job.purge", "model.purge"]))).all()
    assert len(began) == len(set(began)) == 4


def test_a_job_is_purged_while_what_it_made_is_being_stored_again(database: Database, finished: Job) -> None:
    """Whoever stores content locks it before the job's row; in another order they would wait for each other."""
    digest = sha256(b"model.pt").hexdigest()
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as storing:
            blobs.write(storing, io.BytesIO(b"model.pt"), sha256=digest, size=8)
            purging = pool.submit(_purge, database, finished.id)
            wait_until_one_waits(database)
            row = select(Job.id).where(Job.id == finished.id).with_for_update(nowait=True)
            assert storing.scalar(row) == finished.id
        purging.result(30)


def _purge(database: Database, job_id: UUID) -> None:
    with database.begin() as session:
        retention.purge_job(session, job_id, actor=ACTOR, owner_id=OWNER)


def test_what_has_expired_is_swept_once_no_unfinished_job_needs_it(database: Database) -> None:
    with database.begin() as session:
        job = queue(session, calibration_id=upload(session, "dataset", b"digits").id)
        kept = upload(session, "dataset", b"others")
        _expire(session, Model, job.model_id)
        _expire(session, Dataset, job.calibration_id or job.id)
        _expire(session, Job, job.id)
    assert retention.sweep(database) == 0
    with database.begin() as session:
        jobs.cancel(session, job.id, owner_id=OWNER)
    assert retention.sweep(database) == 3
    assert retention.sweep(database) == 0
    with database.begin() as session:
        assert _count(session, Job, Blob) == [0, 1]
        assert uploads.get(session, "dataset", kept.id, owner_id=OWNER).sha256
        assert {"job.purge", "model.delete", "dataset.delete"} <= {action for action, _ in _actions(session)}


def test_the_same_bytes_again_are_kept_as_long_as_either_time_was_to_be(database: Database) -> None:
    soon, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 2))

    def again(session: Session, expires_at: datetime | None) -> datetime | None:
        content = b"weights"
        digest = sha256(content).hexdigest()
        return uploads.create(
            session,
            "model",
            owner_id=OWNER,
            name="digits",
            sha256=digest,
            size=len(content),
            spec={},
            stream=io.BytesIO(content),
            expires_at=expires_at,
        )[0].expires_at

    with database.begin() as session:
        assert [again(session, at) for at in (soon, later, soon, None, soon)] == [soon, later, later, None, None]


def test_a_moment_that_has_passed_or_never_comes_is_refused(database: Database) -> None:
    with database.begin() as session:
        now = session.scalars(select(func.now())).one()
        for wrong in (now, LONG_AGO, datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)):
            with pytest.raises(InvalidExpiryError):
                retention.expiry(session, wrong, None)
        assert retention.expiry(session, None, None) is None
        assert retention.expiry(session, None, 60) == now + timedelta(minutes=1)
        assert retention.expiry(session, now + timedelta(days=1), 60) == now + timedelta(days=1)


def test_content_that_nothing_refers_to_is_collected(database: Database) -> None:
    with database.begin() as session:
        upload(session)
        session.execute(insert(Blob), [{"sha256": digit * 64, "size": 0} for digit in "abc"])
    assert retention.collect(database) == 3
    with database.begin() as session:
        assert _count(session, Blob) == [1]


def test_collecting_never_takes_what_somebody_uploads_at_the_same_moment(database: Database) -> None:
    content, stopped = b"the same bytes", Event()
    errors: list[Exception] = []

    def collect() -> None:
        digest = sha256(content).hexdigest()
        while not stopped.is_set():
            retention.collect(database)
            with database.begin() as session:
                blobs.delete_unreferenced(session, digest)

    def come_and_go() -> None:
        try:
            for _ in range(25):
                with database.begin() as session:
                    row = upload(session, "dataset", content)
                with database.begin() as session:
                    assert b"".join(blobs.read(session, row.sha256 or "")) == content
                with database.begin() as session:
                    session.delete(row)  # the label alone: what it was on is left to be collected
        except Exception as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    collectors = [Thread(target=collect) for _ in range(2)]
    uploader = Thread(target=come_and_go)
    for thread in (*collectors, uploader):
        thread.start()
    uploader.join()
    stopped.set()
    for thread in collectors:
        thread.join()

    assert errors == []
    retention.collect(database)
    with database.begin() as session:
        assert _count(session, Blob) == [0]

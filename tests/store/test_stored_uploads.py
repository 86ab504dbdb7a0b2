"""Models and datasets: one row for the same bytes, and nothing that is needed is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import func, select
from storing import CONTENT, OWNER, queue, start, together, upload

from store import blobs, jobs, leases, uploads
from store.errors import DatasetDeletedError, InUseError, ModelDeletedError, NotFoundError
from store.tables import Blob, Job, Model

if TYPE_CHECKING:
    from store.database import Database


def test_the_same_bytes_again_give_the_first_row(database: Database) -> None:
    with database.begin() as session:
        first = upload(session)
        assert upload(session).id == first.id
        assert uploads.find_by_content(session, "model", first.sha256 or "", owner_id=OWNER) is first
        assert upload(session, content=b"others").id != first.id


def test_a_model_and_a_dataset_may_share_their_content(database: Database) -> None:
    with database.begin() as session:
        model, dataset = upload(session, "model"), upload(session, "dataset")
        assert model.sha256 == dataset.sha256
        uploads.delete(session, "model", model.id, owner_id=OWNER)
        assert b"".join(blobs.read(session, dataset.sha256 or "")) == CONTENT
        uploads.delete(session, "dataset", dataset.id, owner_id=OWNER)
        assert session.scalar(select(func.count()).select_from(Blob)) == 0


def test_what_never_was_is_told_from_what_was_deleted(database: Database) -> None:
    with database.begin() as session:
        model, dataset = upload(session, "model"), upload(session, "dataset")
        uploads.delete(session, "model", model.id, owner_id=OWNER)
        uploads.delete(session, "dataset", dataset.id, owner_id=OWNER)
        with pytest.raises(NotFoundError, match="There is no model") as never:
            uploads.get(session, "model", uuid4(), owner_id=OWNER)
        assert never.value.code == "not_found"
        for act in (uploads.get, uploads.hold, uploads.delete):
            with pytest.raises(ModelDeletedError):
                act(session, "model", model.id, owner_id=OWNER)
            with pytest.raises(DatasetDeletedError):
                act(session, "dataset", dataset.id, owner_id=OWNER)


def test_deleted_bytes_can_be_uploaded_again_under_a_new_id(database: Database) -> None:
    with database.begin() as session:
        first = upload(session)
        uploads.delete(session, "model", first.id, owner_id=OWNER)
        second = upload(session)
        assert second.id != first.id
        assert uploads.list_page(session, "model", owner_id=OWNER, limit=10, after=None).rows == [second]


def test_what_an_unfinished_job_needs_is_not_deleted(database: Database) -> None:
    with database.begin() as session:
        model, dataset = upload(session), upload(session, "dataset", b"digits")
        job = queue(session, model.id, calibration_id=dataset.id, evaluation_id=dataset.id)
        for act in (
            lambda: None,
            lambda: start(session, job.id),
            lambda: jobs.cancel(session, job.id, owner_id=OWNER),
        ):
            act()
            with pytest.raises(InUseError):
                uploads.delete(session, "model", model.id, owner_id=OWNER)
            with pytest.raises(InUseError):
                uploads.delete(session, "dataset", dataset.id, owner_id=OWNER)
        assert leases.confirm_cancelled(session, job.id, 1)
        uploads.delete(session, "model", model.id, owner_id=OWNER)
        uploads.delete(session, "dataset", dataset.id, owner_id=OWNER)
        assert jobs.get(session, job.id, owner_id=OWNER).model_id == model.id


def test_lists_are_newest_first_page_by_page(database: Database) -> None:
    ids = []
    for number in range(5):
        with database.begin() as session:
            ids.append(upload(session, content=b"%d" % number).id)
    with database.begin() as session:
        uploads.delete(session, "model", ids.pop(1), owner_id=OWNER)
        found, after, more = [], None, True
        while more:
            rows, more, after = uploads.list_page(session, "model", owner_id=OWNER, limit=2, after=after)
            found.append([row.id for row in rows])
        assert found == [[ids[3], ids[2]], [ids[1], ids[0]]]
        assert after is None


def test_a_page_may_begin_after_what_was_deleted_meanwhile(database: Database) -> None:
    ids = []
    for number in range(3):
        with database.begin() as session:
            ids.append(upload(session, content=b"%d" % number).id)
    with database.begin() as session:
        uploads.delete(session, "model", ids[1], owner_id=OWNER)
        assert [
            row.id for row in uploads.list_page(session, "model", owner_id=OWNER, limit=2, after=ids[1]).rows
        ] == ids[:1]
        with pytest.raises(NotFoundError):
            uploads.list_page(session, "model", owner_id=OWNER, limit=2, after=uuid4())


def test_the_same_bytes_uploaded_at_once_make_one_row(database: Database) -> None:
    content = bytes(3 * blobs.CHUNK)
    rows = together(database, *[lambda session: upload(session, content=content)] * 4)
    assert len({row.id for row in rows}) == 1
    with database.begin() as session:
        assert session.scalar(select(func.count()).select_from(Model)) == 1
        assert sum(len(piece) for piece in blobs.read(session, rows[0].sha256)) == len(content)


def test_an_upload_at_the_moment_its_bytes_are_deleted_keeps_them(database: Database) -> None:
    for _ in range(10):
        with database.begin() as session:
            old = upload(session)
        deleted, new = together(
            database, lambda session, old=old: uploads.delete(session, "model", old.id, owner_id=OWNER), upload
        )
        assert deleted is None
        if new.id == old.id:  # it came first, found its bytes there, and they were deleted afterwards
            continue
        with database.begin() as session:
            assert b"".join(blobs.read(session, new.sha256)) == CONTENT


def test_a_job_at_the_moment_its_model_is_deleted_either_keeps_it_or_is_refused(database: Database) -> None:
    for number in range(10):
        with database.begin() as session:
            model = upload(session, content=b"%d" % number)
        deleted, job = together(
            database,
            lambda session, model=model: uploads.delete(session, "model", model.id, owner_id=OWNER),
            lambda session, model=model: queue(session, model.id),
        )
        assert (deleted is None and isinstance(job, ModelDeletedError)) or (
            isinstance(deleted, InUseError) and isinstance(job, Job)
        )


def test_two_that_delete_the_same_at_once_find_it_deleted(database: Database) -> None:
    with database.begin() as session:
        model = upload(session)
    outcomes = together(database, *[lambda session: uploads.delete(session, "model", model.id, owner_id=OWNER)] * 2)
    assert sorted(type(outcome) for outcome in outcomes if outcome is not None) == [ModelDeletedError]

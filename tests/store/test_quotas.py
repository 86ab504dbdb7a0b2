"""What an owner uses, and may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from storing import OWNER, queue, start, together, upload

from store import jobs, keys, leases, owners, partial, quotas, uploads
from store.errors import StorageQuotaError, TooManyJobsError

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy.orm import Session

    from octet.report import Report
    from store.database import Database


def test_an_owner_uses_models_data_artifacts_and_what_arrives_in_parts(
    database: Database, report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"int8")
    with database.begin() as session:
        key_id = keys.create(session, "test")[0].id
        model, data = upload(session), upload(session, "dataset", b"data!")
        job = start(session, queue(session, model.id).id)
        partial.create(
            session,
            "dataset",
            owner_id=OWNER,
            key_id=key_id,
            name=None,
            metadata="",
            size=100,
            upload_expires_at=None,
            keep_seconds=60,
        )
        assert quotas.usage(session, OWNER) == (7 + 5 + 100, 1)
        leases.succeed(session, job.id, job.attempt, report, [("model.pt", "application/octet-stream", path)])
        assert quotas.usage(session, OWNER) == (7 + 5 + 100 + 4, 0)
        uploads.delete(session, "dataset", data.id, owner_id=OWNER)
        assert quotas.usage(session, OWNER) == (7 + 100 + 4, 0)
        assert quotas.usage(session, owners.named(session, "other").id) == (0, 0)


def test_of_uploads_that_race_for_the_last_room_one_gets_it(database: Database) -> None:
    def keep(content: bytes) -> object:
        def store(session: Session) -> UUID:
            row = upload(session, content=content)
            quotas.check_storage(session, OWNER, 10)
            return row.id

        return store

    outcomes = together(database, *[keep(bytes([letter]) * 6) for letter in b"abcd"])

    assert [isinstance(outcome, StorageQuotaError) for outcome in outcomes].count(False) == 1
    with database.begin() as session:
        assert quotas.usage(session, OWNER).stored_bytes == 6


def test_room_is_asked_for_before_it_is_taken(database: Database) -> None:
    with database.begin() as session:
        upload(session)
        quotas.check_storage(session, OWNER, 10, more=3)
        quotas.check_storage(session, OWNER, None, more=10**15)
        with pytest.raises(StorageQuotaError, match="11 bytes"):
            quotas.check_storage(session, OWNER, 10, more=4)


def test_of_jobs_that_race_for_the_last_place_one_gets_it(database: Database) -> None:
    with database.begin() as session:
        model_id, key_id = upload(session).id, keys.create(session, "test")[0].id
        queue(session, model_id, key_id=key_id)

    def submit(session: Session) -> None:
        queue(session, model_id, key_id=key_id)
        quotas.check_jobs(session, OWNER, 2)

    outcomes = together(database, *[submit] * 4)
    assert [isinstance(outcome, TooManyJobsError) for outcome in outcomes].count(False) == 1
    with database.begin() as session:
        page = jobs.list_page(session, owner_id=OWNER, status="queued", limit=10, after=None)
        assert len(page.rows) == 2

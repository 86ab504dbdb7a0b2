"""Files that arrive in parts: nothing is lost, doubled or mixed, whoever sends it and however often."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update
from storing import OWNER, together, upload

from octet.errors import FieldError, InvalidDatasetError
from store import keys, partial
from store.errors import NotFoundError, RefusedUploadError, UploadBusyError, UploadExpiredError, UploadOffsetError
from store.tables import PartialUpload, PartialUploadChunk

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from store.database import Database


def _begin(
    session: Session, size: int = 10, keep_seconds: float = 60, upload_expires_at: datetime | None = None
) -> UUID:
    return partial.create(
        session,
        "dataset",
        owner_id=OWNER,
        key_id=keys.create(session, "test")[0].id,
        name="digits",
        metadata="kind ZGF0YXNldA==",
        size=size,
        upload_expires_at=upload_expires_at,
        keep_seconds=keep_seconds,
    ).id


def _append(session: Session, upload_id: UUID, offset: int, data: bytes) -> PartialUpload:
    return partial.append(session, upload_id, offset, data, owner_id=OWNER, keep_seconds=60)


def _chunks(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(PartialUploadChunk)) or 0


def test_parts_of_any_length_come_out_as_one_file(database: Database) -> None:
    with database.begin() as session:
        upload_id = _begin(session)
    for offset, data in ((0, b"abc"), (3, b"d"), (4, b"efghij")):
        with database.begin() as session:
            assert _append(session, upload_id, offset, data).received == offset + len(data)
    with database.begin() as session:
        found = partial.get(session, upload_id, owner_id=OWNER)
        assert b"".join(partial.read(session, found)) == b"abcdefghij"


@pytest.mark.parametrize("offset", [0, 2, 4])
def test_a_part_that_does_not_follow_is_refused_and_changes_nothing(database: Database, offset: int) -> None:
    with database.begin() as session:
        upload_id = _begin(session)
        _append(session, upload_id, 0, b"abc")
    with pytest.raises(UploadOffsetError, match="3 bytes have arrived"), database.begin() as session:
        _append(session, upload_id, offset, b"xyz")
    with database.begin() as session:
        found = partial.get(session, upload_id, owner_id=OWNER)
        assert b"".join(partial.read(session, found)) == b"abc"


def test_of_two_that_write_at_the_same_moment_one_does(database: Database) -> None:
    with database.begin() as session:
        upload_id = _begin(session)
    for offset in range(0, 50, 2):
        results = together(
            database,
            lambda session, offset=offset: _append(session, upload_id, offset, b"aa"),
            lambda session, offset=offset: _append(session, upload_id, offset, b"bb"),
        )
        assert sorted(type(result) in {UploadBusyError, UploadOffsetError} for result in results) == [False, True]
    with database.begin() as session:
        found = partial.get(session, upload_id, owner_id=OWNER)
        assert len(b"".join(partial.read(session, found))) == found.received == 50


def test_a_writer_that_dies_blocks_nobody(database: Database) -> None:
    with database.begin() as session:
        upload_id = _begin(session)
    with database.engine.connect() as dying:
        dying.execute(update(PartialUpload).values(received=5))
        with pytest.raises(UploadBusyError), database.begin() as session:
            _append(session, upload_id, 0, b"abc")
        dying.invalidate()  # as when its process is killed
    with database.begin() as session:
        assert _append(session, upload_id, 0, b"abc").received == 3


def test_what_became_of_it_is_known_and_its_parts_are_gone(database: Database) -> None:
    with database.begin() as session:
        upload_id, other = _begin(session, size=3), _begin(session, size=3)
        _append(session, upload_id, 0, b"abc")
        _append(session, other, 0, b"abc")
        row = upload(session, "dataset")
        partial.complete(session, partial.hold(session, upload_id, owner_id=OWNER), row.id)
    with database.begin() as session:
        found = partial.get(session, upload_id, owner_id=OWNER)
        assert (found.result_id, found.received) == (row.id, 3)
        assert _chunks(session) == 1


def test_why_it_was_refused_is_said_again_in_the_same_words(database: Database) -> None:
    error = InvalidDatasetError("No data.", hint="Send some.", errors=[FieldError("/a", "wrong")])
    with database.begin() as session:
        upload_id = _begin(session, size=3)
        _append(session, upload_id, 0, b"abc")
        partial.refuse(session, partial.hold(session, upload_id, owner_id=OWNER), error)
    with database.begin() as session:
        refusal = partial.get(session, upload_id, owner_id=OWNER).error
        assert refusal is not None
        again = RefusedUploadError(refusal)
        assert (again.code, again.message, again.hint) == (error.code, error.message, error.hint)
        assert again.errors == error.errors
        assert _chunks(session) == 0


def test_another_owner_finds_nothing(database: Database) -> None:
    with database.begin() as session:
        upload_id = _begin(session)
        for act in (partial.get, partial.hold, partial.remove):
            with pytest.raises(NotFoundError, match="There is no upload"):
                act(session, upload_id, owner_id=uuid4())


def test_one_that_was_given_up_takes_no_more_and_is_swept(database: Database) -> None:
    with database.begin() as session:
        alive, expired = _begin(session), _begin(session, keep_seconds=-1)
    for act in (partial.get, partial.hold):
        with pytest.raises(UploadExpiredError), database.begin() as session:
            act(session, expired, owner_id=OWNER)
    with database.begin() as session:
        assert partial.remove_expired(session, limit=10) == 1
        assert session.scalars(select(PartialUpload.id)).all() == [alive]


def test_what_arrives_puts_off_the_end(database: Database) -> None:
    with database.begin() as session:
        upload_id = _begin(session, keep_seconds=30)
        before = partial.get(session, upload_id, owner_id=OWNER).expires_at
        assert _append(session, upload_id, 0, b"abc").expires_at > before


def test_a_removed_one_is_gone_with_its_parts(database: Database) -> None:
    with database.begin() as session:
        upload_id = _begin(session)
        _append(session, upload_id, 0, b"abc")
        partial.remove(session, upload_id, owner_id=OWNER)
        assert _chunks(session) == 0
        with pytest.raises(NotFoundError):
            partial.get(session, upload_id, owner_id=OWNER)

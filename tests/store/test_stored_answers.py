from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, update
from storing import together

from store import idempotency, keys
from store.idempotency import Answer, Claim
from store.tables import IdempotencyRecord

if TYPE_CHECKING:
    from uuid import UUID

    from store.database import Database

ANSWER = Answer("0" * 64, 201, {"location": "/v1/models/1"}, b"{}")
HOUR = 3600.0


@pytest.fixture
def key_id(database: Database) -> UUID:
    with database.begin() as session:
        return keys.create(session, "test")[0].id


def claim(database: Database, key_id: UUID, key: str = "k") -> Claim | Answer | None:
    with database.begin() as session:
        return idempotency.claim(session, key_id, key, keep_seconds=HOUR)


def claimed(database: Database, key_id: UUID, key: str = "k") -> Claim:
    found = claim(database, key_id, key)
    assert isinstance(found, Claim)
    return found


def keep(database: Database, mine: Claim) -> None:
    with database.begin() as session:
        idempotency.keep(session, mine, ANSWER)


def unseen_for(database: Database, seconds: float) -> None:
    """As if that long had passed since anybody saw the record."""
    with database.begin() as session:
        session.execute(update(IdempotencyRecord).values(seen_at=func.now() - timedelta(seconds=seconds)))


def test_a_kept_answer_is_given_for_the_same_key(database: Database, key_id: UUID) -> None:
    keep(database, claimed(database, key_id))
    assert claim(database, key_id) == ANSWER


def test_another_holder_of_a_key_has_answers_of_their_own(database: Database, key_id: UUID) -> None:
    keep(database, claimed(database, key_id))
    with database.begin() as session:
        other = keys.create(session, "other")[0].id
    assert isinstance(claim(database, other), Claim)


def test_one_of_many_at_the_same_moment_handles_a_request(database: Database, key_id: UUID) -> None:
    found = together(database, *[lambda session: idempotency.claim(session, key_id, "k", keep_seconds=HOUR)] * 4)
    assert [type(each) for each in found].count(Claim) == 1
    assert found.count(None) == 3


def test_a_request_that_was_forgotten_is_handled_anew(database: Database, key_id: UUID) -> None:
    mine = claimed(database, key_id)
    with database.begin() as session:
        idempotency.forget(session, mine)
    claimed(database, key_id)


def test_a_request_whose_process_was_killed_is_taken_over(database: Database, key_id: UUID) -> None:
    claimed(database, key_id)
    unseen_for(database, idempotency.LOST_SECONDS + 1)
    claimed(database, key_id)


def test_a_request_that_is_shown_to_be_handled_is_not_taken_over(database: Database, key_id: UUID) -> None:
    mine = claimed(database, key_id)
    unseen_for(database, idempotency.LOST_SECONDS + 1)
    with database.begin() as session:
        idempotency.renew(session, mine)
    assert claim(database, key_id) is None


def test_a_process_that_was_given_up_can_neither_keep_nor_forget(database: Database, key_id: UUID) -> None:
    late = claimed(database, key_id)
    unseen_for(database, idempotency.LOST_SECONDS + 1)
    mine = claimed(database, key_id)
    keep(database, late)
    with database.begin() as session:
        idempotency.forget(session, late)
    assert claim(database, key_id) is None
    keep(database, mine)
    assert claim(database, key_id) == ANSWER


def test_an_answer_is_kept_no_longer_than_it_should_be(database: Database, key_id: UUID) -> None:
    keep(database, claimed(database, key_id))
    unseen_for(database, HOUR + 1)
    claimed(database, key_id)


def test_expired_answers_are_removed_and_no_others(database: Database, key_id: UUID) -> None:
    keep(database, claimed(database, key_id, "old"))
    unseen_for(database, HOUR + 1)
    keep(database, claimed(database, key_id, "new"))
    with database.begin() as session:
        assert idempotency.delete_expired(session, HOUR) == 1
    assert claim(database, key_id, "new") == ANSWER

"""API keys."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, update

from store import keys
from store.errors import ConflictError, NotFoundError
from store.tables import ApiKey

if TYPE_CHECKING:
    from store.database import Database


def test_a_key_is_random_and_only_its_hash_is_kept(database: Database) -> None:
    with database.begin() as session:
        row, first = keys.create(session, "laptop")
        _, second = keys.create(session, "laptop")
    assert first != second
    assert first.startswith(row.prefix)
    assert first.startswith("octet_")
    assert len(first) == len("octet_") + 43  # 256 bits, six to a character
    assert row.sha256 == sha256(first.encode()).hexdigest()


def test_a_key_is_known_again_and_others_are_not(database: Database) -> None:
    with database.begin() as session:
        row, plaintext = keys.create(session, "laptop")
    with database.begin() as session:
        known = keys.verify(session, plaintext)
        assert known is not None
        assert known.id == row.id
        assert keys.verify(session, plaintext + "x") is None
        assert keys.verify(session, "") is None
        assert keys.verify(session, "\x00") is None


def test_a_revoked_key_is_unknown(database: Database) -> None:
    with database.begin() as session:
        row, plaintext = keys.create(session, "laptop")
        assert keys.any_key(session)
        keys.revoke(session, row.prefix)
        assert keys.verify(session, plaintext) is None
        assert not keys.any_key(session)
        assert [key.revoked_at is not None for key in keys.list_keys(session)] == [True]


def test_what_is_revoked_must_be_clear(database: Database) -> None:
    with database.begin() as session:
        first, _ = keys.create(session, "a")
        second, _ = keys.create(session, "b")
        session.execute(update(ApiKey).values(prefix="octet_same"))
        with pytest.raises(ConflictError, match="2 keys begin"):
            keys.revoke(session, "octet_same")
        keys.revoke(session, str(first.id))
        keys.revoke(session, "octet_same")
        assert second.revoked_at is not None
        with pytest.raises(NotFoundError):
            keys.revoke(session, "octet_same")


def test_the_use_of_a_key_is_noted_once_a_minute(database: Database) -> None:
    with database.begin() as session:
        row, plaintext = keys.create(session, "laptop")
    with database.begin() as session:
        keys.verify(session, plaintext)
        session.refresh(row_of := session.get_one(ApiKey, row.id))
        first = row_of.last_used_at
        assert first is not None
    with database.begin() as session:
        keys.verify(session, plaintext)
        assert session.get_one(ApiKey, row.id).last_used_at == first
        session.execute(update(ApiKey).values(last_used_at=func.now() - timedelta(minutes=2)))
    with database.begin() as session:
        keys.verify(session, plaintext)
        session.refresh(again := session.get_one(ApiKey, row.id))
        assert again.last_used_at is not None
        assert again.last_used_at > first

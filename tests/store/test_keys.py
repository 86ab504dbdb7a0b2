"""API keys, and the sessions that somebody signed in for with one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, update
from storing import together

from store import audit, keys, owners, sessions, tokens
from store.errors import ConflictError, NotFoundError
from store.tables import ApiKey, AuditEntry, BrowserSession, Owner

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from store.database import Database


def grant(session: Session, lookup: keys.Lookup) -> keys.Grant:
    return keys.Grant(*session.execute(*lookup).one())


def test_a_key_is_random_and_only_its_hash_is_kept(database: Database) -> None:
    with database.begin() as session:
        row, first = keys.create(session, "laptop")
        _, second = keys.create(session, "laptop")
    assert first != second
    assert first.startswith(row.prefix)
    assert row.sha256 == tokens.digest(first)
    assert first not in str(vars(row))


def test_a_key_has_the_scopes_the_owner_and_the_limits_that_it_was_given(database: Database) -> None:
    limits = keys.Limits(max_stored_bytes=10, max_unfinished_jobs=2, max_requests_per_minute=3)
    with database.begin() as session:
        usual, _ = keys.create(session, "laptop")
        _, plaintext = keys.create(session, "ci", owner="team", scopes=["admin", "read"], limits=limits)
        granted = grant(session, keys.granted(plaintext))
        assert usual.scopes == ["read", "submit"]
        assert owners.get(session, usual.owner_id).name == "default"
        assert owners.get(session, granted.owner_id).name == "team"
        assert granted.scopes == ["read", "admin"]
        assert granted[4:7] == limits
        assert (granted.revoked, granted.expired) == (False, False)
        assert session.execute(*keys.granted(plaintext + "x")).first() is None


def test_an_owner_that_is_named_twice_at_once_is_made_once(database: Database) -> None:
    made = together(database, *[lambda session: owners.named(session, "team").id] * 4)

    assert len(set(made)) == 1
    with database.begin() as session:
        assert session.scalar(select(func.count()).select_from(Owner).where(Owner.name == "team")) == 1


def test_a_revoked_key_and_one_past_its_time_hold_no_longer(database: Database) -> None:
    with database.begin() as session:
        row, revoked = keys.create(session, "laptop", expires_in=timedelta(days=1))
        assert keys.any_key(session)
        keys.revoke(session, row.prefix)
        _, expired = keys.create(session, "laptop", expires_in=timedelta(seconds=-1))
        assert grant(session, keys.granted(revoked)).revoked
        assert grant(session, keys.granted(expired)).expired
        assert not keys.any_key(session)
        assert {key.id for key, _ in keys.list_keys(session) if key.revoked_at} == {row.id}


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
        assert grant(session, keys.granted(plaintext)).stale
        keys.touch(session, row.id)
        session.refresh(row)
        first = row.last_used_at
        assert first is not None
        assert not grant(session, keys.granted(plaintext)).stale
    with database.begin() as session:
        keys.touch(session, row.id)
        assert session.get_one(ApiKey, row.id).last_used_at == first
        session.execute(update(ApiKey).values(last_used_at=func.now() - timedelta(minutes=2)))
        assert grant(session, keys.granted(plaintext)).stale
        keys.touch(session, row.id)
        session.refresh(again := session.get_one(ApiKey, row.id))
        assert again.last_used_at is not None
        assert again.last_used_at > first


def test_making_and_revoking_a_key_is_noted_and_the_key_itself_is_not(database: Database) -> None:
    with database.begin() as session:
        row, plaintext = keys.create(session, "laptop", owner="team")
        keys.revoke(session, row.prefix, actor=audit.Actor(request_id="r"))
        entries = list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))
    assert [(entry.action, entry.subject_id, entry.request_id) for entry in entries] == [
        ("key.create", str(row.id), None),
        ("key.revoke", str(row.id), "r"),
    ]
    assert entries[0].detail == {"name": "laptop", "owner": "team", "scopes": ["read", "submit"]}
    assert plaintext not in str([vars(entry) for entry in entries])


def test_a_session_is_as_good_as_its_key_until_it_ends(database: Database) -> None:
    with database.begin() as session:
        row, _ = keys.create(session, "laptop")
        actor = audit.Actor(row.owner_id, row.id)
        cookie, other = (sessions.create(session, actor, 60) for _ in range(2))
        assert grant(session, sessions.granted(cookie))[:4] == (row.id, row.owner_id, "laptop", ["read", "submit"])
        sessions.end(session, actor, cookie)
        sessions.end(session, actor, cookie)
        assert session.execute(*sessions.granted(cookie)).first() is None
        assert not grant(session, sessions.granted(other)).expired
        row.expires_at = func.now()
        session.flush()
        assert grant(session, sessions.granted(other)).expired
        keys.revoke(session, row.prefix)
        assert grant(session, sessions.granted(other)).revoked


def test_sessions_that_are_over_go_when_somebody_signs_in(database: Database) -> None:
    with database.begin() as session:
        row, _ = keys.create(session, "laptop")
        actor = audit.Actor(row.owner_id, row.id)
        over = sessions.create(session, actor, -1)
        assert grant(session, sessions.granted(over)).expired
        sessions.create(session, actor, 60)
        assert session.scalar(select(func.count()).select_from(BrowserSession)) == 1


def test_whoever_signs_in_with_a_key_too_often_ends_the_oldest_session(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_PER_KEY", 2)
    with database.begin() as session:
        row, _ = keys.create(session, "laptop")
        others = keys.create(session, "other")[0]
    actor = audit.Actor(row.owner_id, row.id)
    cookies = []
    for by in (audit.Actor(others.owner_id, others.id), actor, actor, actor):
        with database.begin() as session:
            cookies.append(sessions.create(session, by, 60))
    with database.begin() as session:
        lasting = [session.execute(*sessions.granted(cookie)).first() is not None for cookie in cookies]
    assert lasting == [True, False, True, True]

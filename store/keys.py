"""API keys. A key is shown once, when it is made; what stays is its sha-256."""

from __future__ import annotations

import secrets
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import func, or_, select, update

from store.errors import ConflictError, NotFoundError
from store.tables import ApiKey

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

_PREFIX = "octet_"
_SHOWN = len(_PREFIX) + 6
_TOUCH_EVERY = timedelta(minutes=1)


def create(session: Session, name: str) -> tuple[ApiKey, str]:
    """Make a key of 256 random bits.

    Returns:
        The row, and the key itself, which cannot be had again.
    """
    plaintext = _PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(name=name, prefix=plaintext[:_SHOWN], sha256=_digest(plaintext))
    session.add(key)
    session.flush()
    return key, plaintext


def verify(session: Session, plaintext: str) -> ApiKey | None:
    """The key's row; None if there is no such key, or it was revoked.

    One look-up by hash, whether the key exists or not: the time it takes says nothing about the keys there are.
    """
    key = session.scalar(select(ApiKey).where(ApiKey.sha256 == _digest(plaintext), ApiKey.revoked_at.is_(None)))
    if key is not None:
        _touch(session, key.id)
    return key


def list_keys(session: Session) -> list[ApiKey]:
    """Every key, revoked ones too, oldest first."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)))


def revoke(session: Session, prefix_or_id: str) -> ApiKey:
    """Make a key useless, from the next request on.

    Raises:
        NotFoundError: If no valid key has that id or prefix.
        ConflictError: If several keys have that prefix.
    """
    keys = list(session.scalars(select(ApiKey).where(_named(prefix_or_id), ApiKey.revoked_at.is_(None))))
    if not keys:
        raise NotFoundError(f"There is no valid key {prefix_or_id!r}.", hint="`octet-server keys list` shows the keys.")
    if len(keys) > 1:
        raise ConflictError(f"{len(keys)} keys begin with {prefix_or_id!r}.", hint="Name the key by its id.")
    keys[0].revoked_at = session.scalar(select(func.now()))
    session.flush()
    return keys[0]


def any_key(session: Session) -> bool:
    """Whether there is a valid key."""
    return session.scalar(select(ApiKey.id).where(ApiKey.revoked_at.is_(None)).limit(1)) is not None


def _digest(plaintext: str) -> str:
    # The key is random and long, so a plain hash is as good as a slow one, and costs each request nothing.
    return sha256(plaintext.encode()).hexdigest()


def _named(prefix_or_id: str) -> ColumnElement[bool]:
    try:
        return ApiKey.id == UUID(prefix_or_id)
    except ValueError:
        return ApiKey.prefix == prefix_or_id


def _touch(session: Session, key_id: UUID) -> None:
    """Note the use, at most once a minute; a request never waits for another that is noting the same."""
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - _TOUCH_EVERY)
    free = select(ApiKey.id).where(ApiKey.id == key_id, stale).with_for_update(skip_locked=True)
    session.execute(update(ApiKey).where(ApiKey.id.in_(free)).values(last_used_at=func.now()))

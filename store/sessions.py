"""Who is signed in on the page. What the cookie holds is made here; what stays is its sha-256."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, or_, select
from sqlalchemy import insert as sql_insert

from store import audit, keys, tokens
from store.tables import ApiKey, BrowserSession

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from store.audit import Actor

PREFIX = "octetsession_"
MAX_PER_KEY = 100
"""Sessions that one key can have. Whoever signs in once more ends the oldest."""

_GRANTED = (
    select(*keys.facts(over=BrowserSession.expires_at <= func.now()))
    .join(BrowserSession, BrowserSession.key_id == ApiKey.id)
    .where(BrowserSession.sha256 == bindparam("sha256"))
)


def create(session: Session, actor: Actor, seconds: float) -> str:
    """Sign in with the key of `actor`, for so long; what the cookie shall hold. Those over, or too many, go."""
    plaintext = tokens.make(PREFIX)
    theirs = select(BrowserSession.sha256).where(BrowserSession.key_id == actor.key_id)
    too_many = theirs.order_by(BrowserSession.created_at.desc()).offset(MAX_PER_KEY - 1)
    gone = or_(BrowserSession.expires_at <= func.now(), BrowserSession.sha256.in_(too_many))
    session.execute(delete(BrowserSession).where(gone))
    values = {"sha256": tokens.digest(plaintext), "key_id": actor.key_id}
    session.execute(sql_insert(BrowserSession).values(**values, expires_at=func.now() + timedelta(seconds=seconds)))
    audit.record(session, actor, "session.create", actor.key_id)
    return plaintext


def granted(plaintext: str) -> keys.Lookup:
    """Asks for the `keys.Grant` of the key that somebody signed in with; it expires with the session or the key."""
    return keys.Lookup(_GRANTED, {"sha256": tokens.digest(plaintext)})


def end(session: Session, actor: Actor, plaintext: str) -> None:
    """Sign out; of no effect where nobody is signed in."""
    theirs = delete(BrowserSession).where(BrowserSession.sha256 == tokens.digest(plaintext))
    if session.scalar(theirs.returning(BrowserSession.key_id)) is not None:
        audit.record(session, actor, "session.delete", actor.key_id)

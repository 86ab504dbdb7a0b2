"""API keys. A key is shown once, when it is made; what stays is its sha-256."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, get_args
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select, update

from octet.wire import Scope
from store import audit, owners, tokens
from store.errors import ConflictError, NotFoundError
from store.tables import ApiKey, Owner

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.orm import Session

    from store.audit import Actor

SCOPES: tuple[Scope, ...] = get_args(Scope)
USUAL: tuple[Scope, ...] = ("read", "submit")
"""What a key may do unless somebody says otherwise."""

PREFIX = "octet_"
_SHOWN = len(PREFIX) + 6
_TOUCH_EVERY = timedelta(minutes=1)


class Limits(NamedTuple):
    """What one key may use; None: as the service's settings have it."""

    max_stored_bytes: int | None = None
    max_unfinished_jobs: int | None = None
    max_requests_per_minute: int | None = None


_UNSAID = Limits()


class Lookup(NamedTuple):
    """A statement that gives the columns of a `Grant`, or no row, and its parameters."""

    statement: Select[Any]
    parameters: dict[str, Any]


class Grant(NamedTuple):
    """A key as a request needs to know it: what `granted` gives, column by column."""

    key_id: UUID
    owner_id: UUID
    name: str
    scopes: list[Scope]
    max_stored_bytes: int | None
    max_unfinished_jobs: int | None
    max_requests_per_minute: int | None
    revoked: bool
    expired: bool
    stale: bool
    """Its last use was noted more than a minute ago."""


def create(
    session: Session,
    name: str,
    *,
    owner: str = owners.DEFAULT,
    scopes: Collection[str] = USUAL,
    expires_in: timedelta | None = None,
    limits: Limits = _UNSAID,
    actor: Actor = audit.SERVICE,
) -> tuple[ApiKey, str]:
    """Make a key.

    Args:
        session: A transaction.
        name: What tells it from others for people; it need not be unique.
        owner: Name of the owner it acts for, who is made if there is none of that name.
        scopes: What it may do.
        expires_in: How long it holds; None: until it is revoked.
        limits: What it may use.
        actor: Who makes it.

    Returns:
        The row, and the key itself, which cannot be had again.
    """
    plaintext = tokens.make(PREFIX)
    key = ApiKey(
        owner_id=owners.named(session, owner).id,
        name=name,
        prefix=plaintext[:_SHOWN],
        sha256=tokens.digest(plaintext),
        scopes=[scope for scope in SCOPES if scope in scopes],
        expires_at=None if expires_in is None else session.scalar(select(func.now() + expires_in)),
        **limits._asdict(),
    )
    session.add(key)
    session.flush()
    audit.record(session, actor, "key.create", key.id, name=name, owner=owner, scopes=key.scopes)
    return key, plaintext


def granted(plaintext: str) -> Lookup:
    """Asks for the `Grant` of a key, whether it still holds or not; no row: there is no such key.

    One look-up by hash, whether the key exists or not: the time it takes says nothing about the keys there are.
    """
    return Lookup(_GRANTED, {"sha256": tokens.digest(plaintext)})


def facts(*, over: ColumnElement[bool] | None = None) -> tuple[Any, ...]:
    """The columns of a `Grant`, of the table of keys; `over`: when it has expired, besides the key's own expiry."""
    expired = func.coalesce(ApiKey.expires_at <= func.now(), False)
    return (
        ApiKey.id,
        ApiKey.owner_id,
        ApiKey.name,
        ApiKey.scopes,
        ApiKey.max_stored_bytes,
        ApiKey.max_unfinished_jobs,
        ApiKey.max_requests_per_minute,
        ApiKey.revoked_at.is_not(None).label("revoked"),
        (expired if over is None else or_(expired, over)).label("expired"),
        _stale().label("stale"),
    )


def get(session: Session, key_id: UUID) -> tuple[ApiKey, str]:
    """A key that there is, with the name of its owner."""
    query = select(ApiKey, Owner.name).join(Owner, Owner.id == ApiKey.owner_id).where(ApiKey.id == key_id)
    key, owner = session.execute(query).one()
    return key, owner


def list_keys(session: Session) -> list[tuple[ApiKey, str]]:
    """Every key, revoked ones too, oldest first, each with the name of its owner."""
    query = select(ApiKey, Owner.name).join(Owner, Owner.id == ApiKey.owner_id)
    return [(key, owner) for key, owner in session.execute(query.order_by(ApiKey.created_at, ApiKey.id))]


def revoke(session: Session, prefix_or_id: str, *, actor: Actor = audit.SERVICE) -> ApiKey:
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
    audit.record(session, actor, "key.revoke", keys[0].id, name=keys[0].name)
    return keys[0]


def any_key(session: Session) -> bool:
    """Whether there is a valid key."""
    unexpired = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
    return session.scalar(select(ApiKey.id).where(ApiKey.revoked_at.is_(None), unexpired).limit(1)) is not None


def touch(session: Session, key_id: UUID) -> None:
    """Note that a key was used, at most once a minute; a request never waits for another that is noting the same."""
    free = select(ApiKey.id).where(ApiKey.id == key_id, _stale()).with_for_update(skip_locked=True)
    session.execute(update(ApiKey).where(ApiKey.id.in_(free)).values(last_used_at=func.now()))


def _stale() -> ColumnElement[bool]:
    return or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - _TOUCH_EVERY)


def _named(prefix_or_id: str) -> ColumnElement[bool]:
    try:
        return ApiKey.id == UUID(prefix_or_id)
    except ValueError:
        return ApiKey.prefix == prefix_or_id


# Made once: making a statement takes longer than running it, and every request runs this one.
_GRANTED = select(*facts()).where(ApiKey.sha256 == bindparam("sha256"))

"""Whom a request comes from, as the routes see it."""

from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from structlog.contextvars import get_contextvars

from api.doors.credentials import COOKIE, of_key
from api.errors import InsufficientScopeError
from octet.wire import Scope
from store.audit import Actor
from store.database import Session
from store.keys import SCOPES, Grant, Limits
from store.settings import Settings


@dataclass(frozen=True)
class Identity:
    """The holder of a key.

    Attributes:
        owner_id: Whom all that they make belongs to, and all that they see.
        key_id: The key that they came with, or signed in with.
        name: The key's.
        scopes: What the key is for.
        limits: What it may use: its own, or the service's; None: as much as there is.
        request_id: Of this request.
    """

    owner_id: UUID
    key_id: UUID
    name: str
    scopes: frozenset[Scope]
    limits: Limits
    request_id: str | None

    @property
    def actor(self) -> Actor:
        """The same, for the audit log."""
        return Actor(self.owner_id, self.key_id, self.request_id)


def identity(grant: Grant, settings: Settings) -> Identity:
    """Whom a request comes from that came with this."""
    limits = Limits(
        *(
            getattr(settings, name) if (own := getattr(grant, name)) is None else own
            for name in Limits._fields  # the settings have the same names
        )
    )
    request_id = get_contextvars().get("request_id")
    return Identity(grant.owner_id, grant.key_id, grant.name, frozenset(grant.scopes), limits, request_id)


def identity_of_key(session: Session, settings: Settings, key: str) -> Identity:
    """Whom an API key is from.

    Raises:
        UnauthorizedError: If it is none, or holds no longer.
    """
    brought = of_key(key.strip())
    grant = brought.grant(session.execute(*brought.lookup).first())
    return identity(grant, settings)


def require(caller: Identity, scope: Scope) -> None:
    """Look whether the caller's key is for this.

    Raises:
        InsufficientScopeError: If not.
    """
    if scope not in caller.scopes:
        wanted = " ".join(f"--scope {name}" for name in SCOPES if name == scope or name in caller.scopes)
        raise InsufficientScopeError(
            f"The key {caller.name!r} has not the scope `{scope}`, which this needs.",
            reason="scope",
            hint=f"`octet-server keys create NAME {wanted}` makes one that has.",
        )


_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="Made with `octet-server keys create`; `octet-server up` shows one at its first start.",
)
_cookie = APIKeyCookie(
    name=COOKIE,
    auto_error=False,
    scheme_name="Session",
    description=f"What `POST /v1/session` sets, for the page; `__Host-{COOKIE}` over https.",
)


async def admitted(
    request: Request,
    _key: Annotated[object, Security(_bearer)],
    _session: Annotated[object, Security(_cookie)],
) -> Identity:
    """Whom the doors let in; that credentials are asked for here is for the OpenAPI document."""
    return cast("Identity", request.state.caller)


Caller = Annotated[Identity, Depends(admitted)]


async def _admin(caller: Caller) -> Identity:
    require(caller, "admin")
    return caller


Admin = Annotated[Identity, Depends(_admin)]

"""Who is calling: the key, the page's session; and who did what."""

from typing import Annotated
from uuid import UUID

from anyio import from_thread
from fastapi import APIRouter, Query, Request, Response

from api import present, problems
from api.doors import Admin, Caller, Identity, credentials, identity_of_key, limit_rate
from api.routes.lists import Limit
from api.service import Parts, Transaction
from octet import wire
from store import audit, keys, quotas, sessions
from store.database import Session

router = APIRouter(tags=["access"])
public = APIRouter(tags=["access"])

_MAX_ENTRY = 2**63 - 1  # Postgres counts no further


@router.get("/key", summary="Get the key you call with")
def get_key(caller: Caller, session: Transaction) -> wire.KeyInfo:
    """What it is for, whose it is, and how much of what it may use is used."""
    return _info(session, caller)


@public.post(
    "/session",
    status_code=201,
    summary="Sign in",
    responses=problems.documented("unauthorized", "cross_site", "invalid_request", "rate_limited"),
)
def sign_in(asked: wire.SessionCreate, request: Request, response: Response, service: Parts) -> wire.KeyInfo:
    """For pages: sets a cookie that no script can read. It is as good as the key until it ends or you sign out."""
    with service.database.begin() as session:
        caller = identity_of_key(session, service.settings, asked.key)
        # The doors let anybody sign in; whose key it is, is known only here.
        from_thread.run(limit_rate, service, caller, {})
        seconds = service.settings.session_seconds
        cookie = sessions.create(session, caller.actor, seconds)
        info = _info(session, caller)
    credentials.set_cookie(response, request.scope, cookie, seconds)
    response.headers.update({"Location": "/v1/session", "Cache-Control": "no-store"})
    return info


@router.get("/session", summary="Ask whether you are signed in")
def get_session(caller: Caller, session: Transaction) -> wire.KeyInfo:
    """The key that you signed in with."""
    return _info(session, caller)


@router.delete("/session", status_code=204, summary="Sign out")
def sign_out(caller: Caller, request: Request, response: Response, session: Transaction) -> None:
    """The cookie is of no more use, wherever it is. The key is."""
    cookie = request.cookies.get(credentials.cookie_name(request.scope))
    if cookie is not None:
        sessions.end(session, caller.actor, cookie)
    credentials.set_cookie(response, request.scope, "", 0)


@router.get("/audit", summary="List who did what", responses=problems.documented("not_found"))
def list_audit(
    *,
    _: Admin,
    session: Transaction,
    subject: Annotated[str | None, Query(max_length=200, description="Only what was done to this id.")] = None,
    owner: Annotated[UUID | None, Query(description="Only what this owner did.")] = None,
    limit: Limit = 20,
    after: Annotated[int | None, Query(ge=0, le=_MAX_ENTRY, description="`next` of the page before.")] = None,
) -> wire.Page[wire.AuditEntry]:
    """Newest first, of all owners. Needs the scope `admin`."""
    rows = audit.list_page(session, owner_id=owner, subject_id=subject, limit=limit, after=after)
    return present.page(rows, present.audit_entry)


def _info(session: Session, caller: Identity) -> wire.KeyInfo:
    key, owner = keys.get(session, caller.key_id)
    return present.key_info(key, owner, caller.limits, quotas.usage(session, caller.owner_id))

"""What a request brings to be let in with: an API key in a header, or the page's cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.requests import HTTPConnection

from api.errors import UnauthorizedError
from store import keys, sessions, tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response
    from starlette.types import Scope

COOKIE = "octet_session"

_NEW_KEY = "`octet-server keys create` makes one."
_SIGN_IN = "Sign in again."
# Why somebody is not let in -> what they are told, and what to do about it.
_REFUSALS = {
    "no_key": (
        "The request carries no API key.",
        "Send `Authorization: Bearer <key>`; `octet` and its client take the key from OCTET_API_KEY.",
    ),
    "malformed_key": ("This is no API key: a part of it is missing, or wrong.", _NEW_KEY),
    "unknown_key": ("The API key is unknown.", _NEW_KEY),
    "revoked_key": ("The API key has been revoked.", _NEW_KEY),
    "expired_key": ("The API key has expired.", _NEW_KEY),
    "unknown_session": ("You are no longer signed in.", _SIGN_IN),
    "revoked_session": ("The API key that you signed in with has been revoked.", _SIGN_IN),
    "expired_session": ("You are no longer signed in.", _SIGN_IN),
}


class Credentials(NamedTuple):
    """A key or a cookie that has the form of one.

    Attributes:
        kind: `key` or `session`. Browsers send cookies whoever makes them send a request.
        lookup: Asks the database for its `keys.Grant`.
    """

    kind: str
    lookup: keys.Lookup

    def grant(self, row: Sequence[Any] | None) -> keys.Grant:
        """What they grant, by what the database answered.

        Raises:
            UnauthorizedError: If there is no such key or session, or it holds no longer.
        """
        if row is None:
            raise _refusal(f"unknown_{self.kind}")
        grant = keys.Grant(*row)
        if grant.revoked:
            raise _refusal(f"revoked_{self.kind}")
        if grant.expired:
            raise _refusal(f"expired_{self.kind}")
        return grant


def of_request(scope: Scope) -> Credentials:
    """The key of a request, or else its cookie.

    Raises:
        UnauthorizedError: If it has neither, or what it has can be told by its form to be of no use.
    """
    connection = HTTPConnection(scope)
    authorization = connection.headers.get("authorization")
    cookie = connection.cookies.get(cookie_name(scope))
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise _refusal("no_key")
        return of_key(key.strip())
    if cookie is None:
        raise _refusal("no_key")
    if not tokens.is_sound(sessions.PREFIX, cookie):
        raise _refusal("unknown_session")
    return Credentials("session", sessions.granted(cookie))


def of_key(key: str) -> Credentials:
    """An API key.

    Raises:
        UnauthorizedError: If it is not even one.
    """
    if not tokens.is_sound(keys.PREFIX, key):
        raise _refusal("malformed_key")
    return Credentials("key", keys.granted(key))


def cookie_name(scope: Scope) -> str:
    """Over https, one that no other host and no plain connection can have set: RFC 6265bis, `__Host-`."""
    return f"__Host-{COOKIE}" if scope["scheme"] == "https" else COOKIE


def set_cookie(response: Response, scope: Scope, value: str, seconds: float) -> None:
    """Sign somebody in; no seconds: out."""
    response.set_cookie(
        cookie_name(scope),
        value,
        max_age=int(seconds),
        path="/",
        secure=scope["scheme"] == "https",
        httponly=True,
        samesite="strict",
    )


def _refusal(reason: str) -> UnauthorizedError:
    message, hint = _REFUSALS[reason]
    return UnauthorizedError(message, reason=reason, hint=hint)

"""Who may call: the holder of an API key."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import UnauthorizedError
from api.service import Parts
from store import keys
from store.tables import ApiKey

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="Made with `octet-server keys create`; `octet-server up` shows one at its first start.",
)


def authenticate(
    service: Parts, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> ApiKey:
    """The caller's key.

    Raises:
        UnauthorizedError: If there is none, or it is unknown or revoked.
    """
    if credentials is None:
        raise UnauthorizedError("The request carries no API key.", hint="Send `Authorization: Bearer <key>`.")
    with service.database.begin() as session:
        key = keys.verify(session, credentials.credentials)
    if key is None:
        raise UnauthorizedError(
            "The API key is unknown or has been revoked.", hint="`octet-server keys create` makes one."
        )
    return key


Caller = Annotated[ApiKey, Depends(authenticate)]

"""What can go wrong between HTTP and the service, besides what the library and the store say."""

from __future__ import annotations

from octet.errors import OctetError


class InvalidRequestError(OctetError):
    """The request is not of the form the route asks for."""

    code = "invalid_request"


class UnauthorizedError(OctetError):
    """The request carries no API key, or one that is unknown or revoked."""

    code = "unauthorized"


class IncompleteBodyError(OctetError):
    """The body ended before it was complete."""

    code = "incomplete_body"

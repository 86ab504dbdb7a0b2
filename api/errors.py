"""What can go wrong between HTTP and the service, besides what the library and the store say."""

from __future__ import annotations

from octet.errors import OctetError


class InvalidRequestError(OctetError):
    """The request is not of the form the route asks for."""

    code = "invalid_request"


class NotAdmittedError(OctetError):
    """The request is not let in.

    Attributes:
        reason: Why, in a word, for the metrics.
    """

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class UnauthorizedError(NotAdmittedError):
    """The request carries no API key, or one that is unknown, has expired or was revoked."""

    code = "unauthorized"


class InsufficientScopeError(NotAdmittedError):
    """The key is for other things."""

    code = "insufficient_scope"


class CrossSiteError(NotAdmittedError):
    """A page of another site made a browser send the request, with the cookie of this one."""

    code = "cross_site"


class RateLimitedError(NotAdmittedError):
    """The key has had its requests for this minute.

    Attributes:
        retry_after: Seconds until the next ones.
    """

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message, reason="rate_limited", hint=f"Try again in {retry_after} seconds.")
        self.retry_after = retry_after


class IncompleteBodyError(OctetError):
    """The body ended before it was complete."""

    code = "incomplete_body"


class BodyTooLargeError(OctetError):
    """The body has more bytes than may be sent."""

    code = "body_too_large"


class StorageFullError(OctetError):
    """There is no room for an upload."""

    code = "storage_full"


class TusVersionError(OctetError):
    """The request follows another version of the tus protocol."""

    code = "tus_version"


class UnknownChecksumError(OctetError):
    """The checksum is of an algorithm that the service does not know, or is none."""

    code = "bad_request"


class ChecksumMismatchError(OctetError):
    """The part of a file is not the one that was sent."""

    code = "checksum_mismatch"

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

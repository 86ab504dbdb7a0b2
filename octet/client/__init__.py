"""The REST client: upload, submit, wait, download. Needs httpx and pydantic, not torch."""

from octet.client.client import Client
from octet.client.errors import (
    DamagedDownloadError,
    JobCancelledError,
    JobFailedError,
    ServiceError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from octet.client.job import JobHandle

__all__ = [
    "Client",
    "DamagedDownloadError",
    "JobCancelledError",
    "JobFailedError",
    "JobHandle",
    "ServiceError",
    "ServiceUnreachableError",
    "UnexpectedAnswerError",
    "WaitTimeoutError",
]

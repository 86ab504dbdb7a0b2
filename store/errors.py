"""What can go wrong with what is stored. Each class is one stable code; the API maps codes to statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.errors import OctetError

if TYPE_CHECKING:
    from octet.wire import JobState


class NotFoundError(OctetError):
    """There is nothing of that kind under that id, or no longer."""

    code = "not_found"


class ModelDeletedError(NotFoundError):
    """The model was there, but has been deleted."""

    code = "model_deleted"


class DatasetDeletedError(NotFoundError):
    """The dataset was there, but has been deleted."""

    code = "dataset_deleted"


class ConflictError(OctetError):
    """What was asked for does not go with the state of things."""

    code = "conflict"


class JobEndedError(ConflictError):
    """The job has ended, so its state can no longer change.

    Attributes:
        state: The state it ended in.
    """

    code = "job_ended"

    def __init__(self, message: str, *, state: JobState) -> None:
        super().__init__(message)
        self.state = state


class IdempotencyMismatchError(ConflictError):
    """The idempotency key was used before, for another request."""

    code = "idempotency_mismatch"


class InUseError(ConflictError):
    """An unfinished job needs it."""

    code = "in_use"


class ContentMismatchError(OctetError):
    """The bytes are not those that were announced, or not those that were stored."""

    code = "content_mismatch"

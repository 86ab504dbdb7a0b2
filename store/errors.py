"""What can go wrong with what is stored. Each class is one stable code; the API maps codes to statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.errors import FieldError, OctetError

if TYPE_CHECKING:
    from typing import Any

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


class JobStateError(ConflictError):
    """The job's state stands against it.

    Attributes:
        state: The state it is in.
    """

    def __init__(self, message: str, *, state: JobState, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.state = state


class JobEndedError(JobStateError):
    """The job has ended, so its state can no longer change."""

    code = "job_ended"


class JobUnfinishedError(JobStateError):
    """The job has not ended, so it cannot be purged."""

    code = "job_unfinished"


class IdempotencyMismatchError(ConflictError):
    """The idempotency key was used before, for another request."""

    code = "idempotency_mismatch"


class InUseError(ConflictError):
    """An unfinished job needs it."""

    code = "in_use"


class UploadOffsetError(ConflictError):
    """The part of a file does not follow what has arrived."""

    code = "upload_offset"


class UploadBusyError(ConflictError):
    """Another request is adding to the upload, or reading it through, at this moment."""

    code = "upload_busy"


class UploadExpiredError(NotFoundError):
    """The upload was given up, because nothing arrived for too long."""

    code = "upload_expired"


class RefusedUploadError(OctetError):
    """The file was refused before: this says again why.

    Args:
        refusal: Code, message, hint and fields of the first error, as `store.partial` keeps them.
    """

    def __init__(self, refusal: dict[str, Any]) -> None:
        fields = [FieldError(**field) for field in refusal["errors"]]
        super().__init__(refusal["message"], hint=refusal["hint"], errors=fields)
        self.code = refusal["code"]


class InvalidWebhookError(OctetError):
    """The address cannot be told: it is none, or leads to where only this service can reach."""

    code = "invalid_webhook"


class InvalidExpiryError(OctetError):
    """Something cannot be kept until then."""

    code = "invalid_request"


class StorageQuotaError(OctetError):
    """The owner has no room left."""

    code = "storage_quota"


class TooManyJobsError(OctetError):
    """The owner has as many unfinished jobs as they may.

    Attributes:
        retry_after: Seconds after which trying again may help.
    """

    code = "too_many_jobs"
    retry_after = 10


class ContentMismatchError(OctetError):
    """The bytes are not those that were announced, or not those that were stored."""

    code = "content_mismatch"

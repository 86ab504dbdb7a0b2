"""What can go wrong between a client and the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from octet.errors import FieldError, OctetError
from octet.wire import Problem

if TYPE_CHECKING:
    import httpx

    from octet.wire import Job

_TYPE_PREFIX = "urn:octet:error:"


class ServiceError(OctetError):
    """The service refused a request.

    Attributes:
        status: The HTTP status.
        code: The service's own code for it, for example `not_found`.
        retry_after: Seconds after which the service asks to try again; 0: it does not say.
    """

    code = "service_error"

    def __init__(self, status: int, problem: Problem, retry_after: float = 0.0) -> None:
        errors = [
            FieldError(field.pointer or field.parameter or "", field.detail, field.hint) for field in problem.errors
        ]
        super().__init__(problem.detail, hint=problem.hint, errors=errors)
        self.status = status
        self.code = problem.type.removeprefix(_TYPE_PREFIX)
        self.retry_after = retry_after


class ServiceUnreachableError(OctetError):
    """No answer came from the service."""

    code = "service_unreachable"


class UnexpectedAnswerError(OctetError):
    """Something answered, but not as Octet does: another program, or a service of another version."""

    code = "unexpected_answer"


class DamagedDownloadError(OctetError):
    """The bytes that arrived are not those the service holds."""

    code = "damaged_download"


class WaitTimeoutError(OctetError):
    """The job had not finished in the time given. It goes on."""

    code = "wait_timeout"


class JobFailedError(OctetError):
    """The job failed, with the code, the sentence and the hint that it failed with.

    Attributes:
        job: The job as it ended.
    """

    code = "job_failed"

    def __init__(self, job: Job) -> None:
        error = job.error
        super().__init__(error.message if error else f"Job {job.id} failed.", hint=error.hint if error else None)
        self.job = job
        if error:
            self.code = error.code


class JobCancelledError(OctetError):
    """The job was cancelled before it finished.

    Attributes:
        job: The job as it ended.
    """

    code = "job_cancelled"

    def __init__(self, job: Job) -> None:
        super().__init__(f"Job {job.id} was cancelled.")
        self.job = job


def refusal(response: httpx.Response) -> OctetError:
    """The error that a response of status 400 and above stands for; its body has been read."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return UnexpectedAnswerError(
            f"{response.request.url} answered {response.status_code} {response.reason_phrase}, "
            "which is not an answer of Octet.",
            hint="Check the service's address (OCTET_URL).",
        )
    retry_after = response.headers.get("retry-after", "")  # in seconds, as this service sends it
    return ServiceError(response.status_code, problem, float(retry_after) if retry_after.isdecimal() else 0.0)

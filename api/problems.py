"""The one place that turns an error into an answer: `application/problem+json`, RFC 9457."""

from __future__ import annotations

import errno
from http import HTTPMethod, HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.errors import InvalidRequestError
from octet import wire
from octet.errors import InvalidRecipeError, OctetError
from octet.validation import describe
from store.database import UNAVAILABLE, is_disk_full

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request
    from pydantic import BaseModel

_log = structlog.get_logger("api")

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """What every error of one code has in common."""

    status: int
    title: str


KINDS: dict[str, Kind] = {
    # the request
    "invalid_request": Kind(422, "The request is not valid"),
    "incomplete_body": Kind(400, "The body is incomplete"),
    "bad_request": Kind(400, "The request cannot be read"),
    "unauthorized": Kind(401, "A valid API key is needed"),
    "insufficient_scope": Kind(403, "The API key may not do this"),
    "cross_site": Kind(403, "The request comes from another site"),
    "not_found": Kind(404, "There is no such thing"),
    "method_not_allowed": Kind(405, "The address does not take this method"),
    "body_timeout": Kind(408, "The body did not arrive in time"),
    "body_too_large": Kind(413, "The body is too large"),
    "range_not_satisfiable": Kind(416, "The range lies outside the file"),
    "idempotency_mismatch": Kind(422, "The idempotency key belongs to another request"),
    "idempotency_in_progress": Kind(409, "The first request with this idempotency key is still being answered"),
    "rate_limited": Kind(429, "Too many requests"),
    "too_many_jobs": Kind(429, "Too many unfinished jobs"),
    "storage_quota": Kind(507, "The owner's storage is used up"),
    "storage_full": Kind(507, "The service's storage is used up"),
    # uploads
    "upload_offset": Kind(409, "The part does not follow what has arrived"),
    "upload_expired": Kind(410, "The upload was given up"),
    "upload_busy": Kind(423, "Another request is sending a part"),
    "tus_version": Kind(412, "The version of the tus protocol is another"),
    "checksum_mismatch": Kind(460, "The part does not have its checksum"),
    "unsupported_format": Kind(415, "The file has another format"),
    "invalid_archive": Kind(422, "The archive is damaged"),
    "invalid_model": Kind(422, "The model cannot be used"),
    "unsupported_operator": Kind(422, "The model uses an operator that Octet does not know"),
    "invalid_dataset": Kind(422, "The data cannot be used"),
    # jobs
    "invalid_recipe": Kind(422, "The recipe is not valid"),
    "model_deleted": Kind(410, "The model has been deleted"),
    "dataset_deleted": Kind(410, "The dataset has been deleted"),
    "in_use": Kind(409, "A job needs it"),
    "job_ended": Kind(409, "The job has ended"),
    "job_unfinished": Kind(409, "The job has not ended"),
    "invalid_webhook": Kind(422, "The address cannot be told"),
    "conflict": Kind(409, "The request conflicts with the state of things"),
    # the service
    "unavailable": Kind(503, "The service cannot answer now"),
    "internal_error": Kind(500, "Something went wrong in the service"),
}
_OTHER = Kind(500, "Something went wrong in the service")

_FULL = (errno.ENOSPC, errno.EDQUOT)

# What the framework itself refuses -> its code, and a sentence where the framework's own is only the status again.
_HTTP: dict[int, tuple[str, str | None]] = {
    400: ("bad_request", "The body cannot be read."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    408: ("body_timeout", None),
    413: ("body_too_large", None),
}


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a route that may answer with these problems; `default` stands for all others."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    entries: dict[int | str, dict[str, Any]] = {
        "default": {"description": "Anything else that went wrong.", "content": content}
    }
    for code in codes:
        kind = KINDS[code]
        line = f"{kind.title}: `urn:octet:error:{code}`."
        before = entries.get(kind.status)
        description = f"{before['description']} {line}" if before else line
        entries[kind.status] = {"description": description, "content": content}
    return entries


def response(
    code: str,
    detail: str,
    *,
    hint: str | None = None,
    errors: Sequence[wire.ProblemField] = (),
    state: wire.JobState | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The problem `code` as an answer."""
    kind = KINDS.get(code, _OTHER)
    problem = wire.Problem(
        type=f"urn:octet:error:{code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        hint=hint,
        errors=list(errors),
        state=state,
    )
    # RFC 9110 asks every 401 to say how to authenticate.
    challenge = {"WWW-Authenticate": "Bearer"} if kind.status == HTTPStatus.UNAUTHORIZED else {}
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=kind.status,
        headers={**challenge, **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def from_octet(error: OctetError) -> JSONResponse:
    """An error that Octet raised on purpose."""
    fields = [wire.ProblemField(pointer=at.pointer, detail=at.message, hint=at.hint) for at in error.errors]
    retry_after = getattr(error, "retry_after", None)
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    state = getattr(error, "state", None)
    return response(error.code, error.message, hint=error.hint, errors=fields, state=state, headers=headers)


def from_validation(error: RequestValidationError, body: type[BaseModel] | None) -> JSONResponse:
    """A request that is not of the form the route asks for.

    Args:
        error: FastAPI's findings.
        body: The type of the body, for the nearest known key.
    """
    finding = error.errors()[0]
    source, *place = finding["loc"]
    if source == "path":  # no id looks like this, so nothing has it
        return response("not_found", f"There is nothing with the id {finding['input']!r}.")
    if finding["type"] == "json_invalid":
        reason = finding["ctx"]["error"]
        return response("invalid_request", f"The body is not JSON: {reason} at character {place[0]}.")
    if source == "body" and body is not None:
        return _from_body(error, body)
    fields = [wire.ProblemField(parameter=str(found["loc"][-1]), detail=found["msg"]) for found in error.errors()]
    return response("invalid_request", f"{source} parameter {place[-1]!r}: {finding['msg']}.", errors=fields)


def _from_body(error: RequestValidationError, body: type[BaseModel]) -> JSONResponse:
    findings = [{**found, "loc": found["loc"][1:]} for found in error.errors()]
    errors = describe(findings, body)
    first = errors[0]
    if not first.pointer:
        hint = "Send one, with `Content-Type: application/json`."
        return from_octet(InvalidRequestError("The body is not a JSON object.", hint=hint))
    document = "recipe" if first.pointer.startswith("/recipe") else "request"
    kind = InvalidRecipeError if document == "recipe" else InvalidRequestError
    message = f"The {document} is not valid: {first.message} (at {first.pointer})."
    return from_octet(kind(message, hint=first.hint, errors=errors))


def from_http(error: HTTPException) -> JSONResponse:
    """An error of the framework: no such address, no such method."""
    code, sentence = _HTTP.get(error.status_code, ("internal_error", None))
    return response(code, sentence or error.detail, headers=error.headers)


def _methods_at(request: Request) -> str:
    """What the address of `request` takes, as RFC 9110, section 10.2.1, lists it."""
    routes = request.app.routes
    return ", ".join(
        method
        for method in HTTPMethod
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )


def unavailable(detail: str = "The service's database does not answer.") -> JSONResponse:
    """The database does not answer, or something else is in the way that passes."""
    return response("unavailable", detail, hint="Try again in a moment.", headers={"Retry-After": "2"})


def from_database(error: Exception) -> JSONResponse:
    """One of `UNAVAILABLE`."""
    full = is_disk_full(error)
    _log.warning("the database's disk is full" if full else "the database does not answer", error=str(error))
    return storage_full() if full else unavailable()


def storage_full() -> JSONResponse:
    """A disk of the service is full: its database's, or the one where uploads wait."""
    return response("storage_full", "A disk of the service is full.", hint="Try again later, or tell its operator.")


def unexpected(request_id: str) -> JSONResponse:
    """An error that nobody foresaw: its text stays in the log."""
    return response(
        "internal_error",
        "Something went wrong in the service.",
        hint=f"The service's log has the reason under request id {request_id}.",
    )


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem. Unforeseen ones are the middleware's: they must not escape the log."""

    async def octet_error(_: Request, error: OctetError) -> JSONResponse:
        return from_octet(error)

    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        field = getattr(request.scope.get("route"), "body_field", None)
        annotation = field.field_info.annotation if field else None
        return from_validation(error, annotation)

    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        # The framework looks at the first route there only; a mounted app, such as that of static files, at all it has.
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and "app_root_path" not in request.scope:
            error.headers = {"Allow": _methods_at(request)}
        return from_http(error)

    async def database_error(_: Request, error: Exception) -> JSONResponse:
        return from_database(error)

    async def system_error(_: Request, error: OSError) -> JSONResponse:
        if error.errno not in _FULL:
            raise error
        _log.warning("the disk where uploads wait is full", error=str(error))
        return storage_full()

    for kind in UNAVAILABLE:
        app.exception_handler(kind)(database_error)
    app.exception_handler(OSError)(system_error)
    app.exception_handler(OctetError)(octet_error)
    app.exception_handler(RequestValidationError)(validation_error)
    app.exception_handler(HTTPException)(http_error)

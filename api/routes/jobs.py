"""Jobs: what to do to a model, how far it has come, what it gave."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import content, following, present, problems, submission
from api.doors import Caller
from api.routes.lists import After, Limit
from api.service import Parts, Transaction
from octet import wire
from octet.report import Report
from store import artifacts, audit, jobs, retention
from store.errors import ConflictError

router = APIRouter(prefix="/jobs", tags=["jobs"])

_NOT_FOUND = problems.documented("not_found")
_RETRY_SECONDS = "1"
_MAX_EVENT = 2**63 - 1  # Postgres counts no further
_MODEL, _DATA = "5f0c1f0e-6a0b-4b7e-9d5b-0c8a4e2f7d11", "b3a1c9d2-17f4-4c58-8e0a-9f6f2d3c4b5a"
_EXAMPLES: dict[str, Any] = {
    "dynamic": {"summary": "No data needed", "value": {"model": _MODEL, "recipe": {"method": "dynamic"}}},
    "static": {
        "summary": "Ranges from data, and one layer left in float",
        "value": {
            "model": _MODEL,
            "recipe": {"method": "static", "engine": "onednn", "layers": [{"name": "head.*", "method": "float"}]},
            "calibration": _DATA,
            "name": "a first try",
        },
    },
}


@router.post(
    "",
    status_code=202,
    summary="Submit a job",
    responses={
        200: {
            "model": wire.Job | wire.JobCheck,
            "description": "With `reuse`: a job that has the result. With `validate_only`: the job would be accepted.",
        },
        **problems.documented(
            "not_found",
            "model_deleted",
            "dataset_deleted",
            "invalid_request",
            "invalid_recipe",
            "invalid_dataset",
            "too_many_jobs",
            "storage_quota",
            "rate_limited",
        ),
    },
)
def submit_job(
    *,
    asked: Annotated[wire.JobCreate, Body(openapi_examples=_EXAMPLES)],
    caller: Caller,
    service: Parts,
    response: Response,
    validate_only: Annotated[bool, Query(description="Check everything and queue nothing.")] = False,
    idempotency_key: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> wire.Job | wire.JobCheck:
    """Queue a job.

    What can be known to be wrong is said at once: keys of the recipe, data that is missing or does not fit the model.

    With `reuse` the answer may be a job of yours that has succeeded already, with the same model, data, recipe and
    version of Octet; its name does not matter. One that is still queued or running is not taken for it.
    """
    if validate_only:
        with service.database.begin() as session:
            submission.check(session, asked, caller.owner_id)
        response.status_code = 200
        return wire.JobCheck(recipe=asked.recipe)
    job = submission.submit(service, asked, caller, idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if job.finished:
        response.status_code = 200
    else:
        response.headers["Retry-After"] = _RETRY_SECONDS
    return job


@router.get("", summary="List jobs", responses=_NOT_FOUND)
def list_jobs(
    session: Transaction, caller: Caller, status: wire.JobState | None = None, limit: Limit = 20, after: After = None
) -> wire.Page[wire.Job]:
    """Newest first."""
    rows = jobs.list_page(session, owner_id=caller.owner_id, status=status, limit=limit, after=after)
    metrics = jobs.metrics_of(session, [row.id for row in rows.rows])
    return present.page(rows, lambda row: present.job(row, metrics[row.id], jobs.queue_position(session, row)))


@router.get(
    "/{job_id}",
    summary="Get a job",
    response_model=wire.Job,
    responses={304: {"description": "It is what `If-None-Match` names."}, **_NOT_FOUND},
)
async def get_job(
    job_id: UUID,
    caller: Caller,
    request: Request,
    prefer: Annotated[
        str | None, Header(description="`wait=N`: answer after N seconds (60 at most) or on news.")
    ] = None,
    if_none_match: Annotated[str | None, Header(description="An `ETag` of an earlier answer.")] = None,
) -> Response:
    """State, progress, figures and, if it failed, why.

    With `Prefer: wait=N` the answer comes when the job has finished, or with `If-None-Match` when it has changed, and
    after N seconds in any case.
    """
    wait = following.asked_wait(prefer)
    job = await following.wait_for_job(request, caller.owner_id, job_id, wait or 0, if_none_match)
    headers = {"ETag": job.etag}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
    if not job.finished:
        headers["Retry-After"] = _RETRY_SECONDS
    if content.matches(if_none_match, job.etag):
        return Response(status_code=304, headers=headers)
    return Response(job.body, headers=headers, media_type="application/json")


@router.delete(
    "/{job_id}", status_code=204, summary="Purge a job", responses=problems.documented("not_found", "job_unfinished")
)
def purge_job(job_id: UUID, caller: Caller, session: Transaction) -> None:
    """Its report, figures, events and artifacts go with it, and their bytes. That it was there stays in the audit log.

    One that has not ended has to be cancelled before.
    """
    retention.purge_job(session, job_id, actor=caller.actor, owner_id=caller.owner_id)


@router.post(
    "/{job_id}/cancel", status_code=202, summary="Cancel a job", responses=problems.documented("not_found", "job_ended")
)
def cancel_job(job_id: UUID, caller: Caller, session: Transaction) -> wire.Job:
    """A queued job is cancelled at once; a running one is `cancelling` until its worker has stopped it."""
    row = jobs.cancel(session, job_id, owner_id=caller.owner_id)
    audit.record(session, caller.actor, "job.cancel", job_id)
    return present.job(row, [], jobs.queue_position(session, row))


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_model=list[wire.Event],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **_NOT_FOUND},
)
async def list_events(
    *,
    job_id: UUID,
    request: Request,
    caller: Caller,
    service: Parts,
    after: Annotated[int, Query(ge=0, le=_MAX_EVENT, description="Leave out events up to this id.")] = 0,
    last_event_id: Annotated[int | None, Header(ge=0, le=_MAX_EVENT, description="Takes the place of `after`.")] = None,
) -> Response:
    """What happened to a job, oldest first: a list, or with `Accept: text/event-stream` a stream until its end.

    A list holds up to 500 events; `after` gets those that follow. A stream that broke off goes on where it was: send
    `Last-Event-ID`.
    """
    start = after if last_event_id is None else last_event_id
    found, _ = await run_in_threadpool(following.read_events, service, caller.owner_id, job_id, start)
    if "text/event-stream" in request.headers.get("accept", ""):
        stream = following.stream_events(service, caller.owner_id, job_id, start)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    return JSONResponse([event.model_dump(mode="json") for event in found])


@router.get(
    "/{job_id}/report",
    summary="Get a job's report",
    response_model=Report,
    responses=problems.documented("not_found", "conflict"),
)
def get_report(job_id: UUID, caller: Caller, session: Transaction) -> Response:
    """Everything that was measured, with what it was measured on. There is one once the job has succeeded."""
    row = jobs.get(session, job_id, owner_id=caller.owner_id)
    if row.report is None:
        raise ConflictError(f"The job {job_id} is {row.state}: it has no report.", hint="Wait until it has succeeded.")
    return JSONResponse(row.report)


@router.get("/{job_id}/artifacts", summary="List a job's artifacts", responses=_NOT_FOUND)
def list_artifacts(job_id: UUID, caller: Caller, session: Transaction) -> list[wire.Artifact]:
    """The files it made, by name: there are some once it has succeeded."""
    jobs.get(session, job_id, owner_id=caller.owner_id)
    return [present.artifact(row) for row in artifacts.list_for(session, job_id)]

"""Datasets: uploaded `.safetensors` and `.npz` files."""

from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from api import content, present, problems, uploads
from api.doors import Caller
from api.routes.lists import After, Limit
from api.service import Parts, Transaction
from octet import wire
from octet.data.dataset import describe_dataset, refuse_foreign
from store import audit, retention
from store import uploads as stored

router = APIRouter(prefix="/datasets", tags=["datasets"])

_NOT_FOUND = problems.documented("not_found", "dataset_deleted")


def _describe(path: Path) -> dict[str, Any]:
    return describe_dataset(path).model_dump(mode="json")


READER = uploads.Reader("dataset", refuse_foreign, _describe)


@router.post(
    "",
    status_code=201,
    summary="Upload a dataset",
    openapi_extra=uploads.BODY,
    responses={
        200: {"model": wire.Dataset, "description": "The same bytes were here already: the same dataset."},
        **problems.documented(*uploads.PROBLEMS, "invalid_dataset"),
    },
)
async def upload_dataset(
    *,
    request: Request,
    response: Response,
    caller: Caller,
    service: Parts,
    name: uploads.Name = None,
    expires_at: uploads.Expiry = None,
) -> wire.Dataset:
    """Send a `.safetensors` or `.npz` of named arrays of equal first dimension, as the body or as a form's `file`.

    One array for each input of the model, by name or as `input_0`, `input_1`, …; and for accuracy `label` or `target`.
    """
    row, created = await uploads.take_in(request, service, caller, READER, name, expires_at)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/datasets/{row.id}"
    return present.dataset(row)


@router.get("", summary="List datasets", responses=problems.documented("not_found"))
def list_datasets(
    caller: Caller, session: Transaction, limit: Limit = 20, after: After = None
) -> wire.Page[wire.Dataset]:
    """Newest first."""
    return present.page(
        stored.list_page(session, "dataset", owner_id=caller.owner_id, limit=limit, after=after), present.dataset
    )


@router.get("/{dataset_id}", summary="Get a dataset", responses=_NOT_FOUND)
def get_dataset(dataset_id: UUID, caller: Caller, session: Transaction) -> wire.Dataset:
    """Its arrays, and how many samples they hold."""
    return present.dataset(stored.get(session, "dataset", dataset_id, owner_id=caller.owner_id))


@router.get(
    "/{dataset_id}/content",
    summary="Download a dataset",
    response_class=Response,
    responses={**content.DOCUMENTED, **_NOT_FOUND},
)
@router.head(
    "/{dataset_id}/content", summary="Ask about a dataset's content", response_class=Response, responses=_NOT_FOUND
)
def get_dataset_content(dataset_id: UUID, request: Request, caller: Caller, service: Parts) -> Response:
    """The file, as it was uploaded."""
    with service.database.begin() as session:
        row = stored.get(session, "dataset", dataset_id, owner_id=caller.owner_id)
    return content.answer(request, service.database, content.of_upload(row))


@router.delete(
    "/{dataset_id}",
    status_code=204,
    summary="Delete a dataset",
    responses={**_NOT_FOUND, **problems.documented("in_use")},
)
def delete_dataset(dataset_id: UUID, caller: Caller, service: Parts, purge: uploads.Purge = False) -> None:
    """Its bytes go; jobs that used it stay, with all they made, unless they are to be purged."""
    if purge:
        retention.purge_upload(service.database, "dataset", dataset_id, actor=caller.actor, owner_id=caller.owner_id)
        return
    with service.database.begin() as session:
        stored.delete(session, "dataset", dataset_id, owner_id=caller.owner_id)
        audit.record(session, caller.actor, "dataset.delete", dataset_id)

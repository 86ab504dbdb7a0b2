"""Models: uploaded `.pt2` files."""

from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

import octet
from api import content, present, problems, uploads
from api.doors import Caller
from api.routes.lists import After, Limit
from api.service import Parts, Transaction
from octet import wire
from octet.program.pt2.formats import refuse_foreign
from octet.spec import ProgramSpec
from store import audit, retention
from store import uploads as stored

router = APIRouter(prefix="/models", tags=["models"])

_NOT_FOUND = problems.documented("not_found", "model_deleted")


def _describe(path: Path) -> dict[str, Any]:
    return octet.load(path).spec.model_dump(mode="json")


READER = uploads.Reader("model", refuse_foreign, _describe)


@router.post(
    "",
    status_code=201,
    summary="Upload a model",
    openapi_extra=uploads.BODY,
    responses={
        200: {"model": wire.Model, "description": "The same bytes were here already: the same model."},
        **problems.documented(*uploads.PROBLEMS, "invalid_archive", "invalid_model", "unsupported_operator"),
    },
)
async def upload_model(
    *,
    request: Request,
    response: Response,
    caller: Caller,
    service: Parts,
    name: uploads.Name = None,
    expires_at: uploads.Expiry = None,
) -> wire.Model:
    """Send a `.pt2`, as `octet.export` and `torch.export.save` make them, as the body or as a form's `file`.

    Nothing in it is executed. A model that cannot be quantized is refused here, with the reason.
    """
    row, created = await uploads.take_in(request, service, caller, READER, name, expires_at)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/models/{row.id}"
    return present.model(row)


@router.get("", summary="List models", responses=problems.documented("not_found"))
def list_models(caller: Caller, session: Transaction, limit: Limit = 20, after: After = None) -> wire.Page[wire.Model]:
    """Newest first."""
    return present.page(
        stored.list_page(session, "model", owner_id=caller.owner_id, limit=limit, after=after), present.model
    )


@router.get("/{model_id}", summary="Get a model", responses=_NOT_FOUND)
def get_model(model_id: UUID, caller: Caller, session: Transaction) -> wire.Model:
    """What it takes and gives, and how large it is."""
    return present.model(stored.get(session, "model", model_id, owner_id=caller.owner_id))


@router.get("/{model_id}/layers", summary="List a model's layers", responses=_NOT_FOUND)
def list_layers(model_id: UUID, caller: Caller, session: Transaction) -> wire.ModelLayers:
    """The modules it is made of, under the paths its author gave them, which a recipe's layer rules match.

    `outlook` says what will become of each, by method and engine, and why it stays in float where it does.
    """
    spec = ProgramSpec.model_validate(stored.get(session, "model", model_id, owner_id=caller.owner_id).spec)
    return wire.ModelLayers(data=list(spec.layers))


@router.get(
    "/{model_id}/content",
    summary="Download a model",
    response_class=Response,
    responses={**content.DOCUMENTED, **_NOT_FOUND},
)
@router.head(
    "/{model_id}/content", summary="Ask about a model's content", response_class=Response, responses=_NOT_FOUND
)
def get_model_content(model_id: UUID, request: Request, caller: Caller, service: Parts) -> Response:
    """The `.pt2`, as it was uploaded."""
    with service.database.begin() as session:
        row = stored.get(session, "model", model_id, owner_id=caller.owner_id)
    return content.answer(request, service.database, content.of_upload(row))


@router.delete(
    "/{model_id}", status_code=204, summary="Delete a model", responses={**_NOT_FOUND, **problems.documented("in_use")}
)
def delete_model(model_id: UUID, caller: Caller, service: Parts, purge: uploads.Purge = False) -> None:
    """Its bytes go; jobs that used it stay, with all they made, unless they are to be purged."""
    if purge:
        retention.purge_upload(service.database, "model", model_id, actor=caller.actor, owner_id=caller.owner_id)
        return
    with service.database.begin() as session:
        stored.delete(session, "model", model_id, owner_id=caller.owner_id)
        audit.record(session, caller.actor, "model.delete", model_id)

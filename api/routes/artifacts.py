"""Artifacts: the files that jobs made."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from api import content, present, problems
from api.doors import Caller
from api.service import Parts, Transaction
from octet import wire
from store import artifacts

router = APIRouter(prefix="/artifacts", tags=["artifacts"], responses=problems.documented("not_found"))


@router.get("/{artifact_id}", summary="Describe an artifact")
def get_artifact(artifact_id: UUID, caller: Caller, session: Transaction) -> wire.Artifact:
    """Name, media type, size and SHA-256."""
    return present.artifact(artifacts.get(session, artifact_id, owner_id=caller.owner_id))


@router.get(
    "/{artifact_id}/content", summary="Download an artifact", response_class=Response, responses=content.DOCUMENTED
)
@router.head("/{artifact_id}/content", summary="Ask about an artifact's content", response_class=Response)
def get_artifact_content(artifact_id: UUID, request: Request, caller: Caller, service: Parts) -> Response:
    """The file. `Range` fetches a part of it, `Repr-Digest` is the SHA-256 of the whole."""
    with service.database.begin() as session:
        row = artifacts.get(session, artifact_id, owner_id=caller.owner_id)
    return content.answer(request, service.database, content.File(row.sha256, row.size, row.name, row.media_type))

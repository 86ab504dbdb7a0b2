"""Uploads in parts: tus 1.0, https://tus.io/protocols/resumable-upload, so that a cut costs next to nothing."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response

from api import bodies, partial, present, problems, tus
from api.doors import Caller
from api.errors import BodyTooLargeError
from api.routes import datasets, models
from api.service import Parts
from api.uploads import admit
from octet import wire
from octet.errors import UnsupportedFormatError
from store import partial as stored
from store import quotas
from store.errors import RefusedUploadError

_MAX_OFFSET = 2**63 - 1  # Postgres counts no further
_READERS = {"model": models.READER, "dataset": datasets.READER}


def _version(tus_resumable: Annotated[str | None, Header(include_in_schema=False)] = None) -> None:
    tus.require_version(tus_resumable)


def _upload(upload_id: UUID, caller: Caller, service: Parts) -> partial.Partial:
    return partial.Partial(service, _READERS, caller, upload_id)


router = APIRouter(prefix="/uploads", tags=["uploads"])
# The header is needed, but the protocol has an answer of its own for its lack.
_VERSION = {"name": "Tus-Resumable", "in": "header", "required": True, "schema": {"const": tus.VERSION}}
_PART = {"required": True, "content": {tus.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}

_NOT_FOUND = problems.documented("not_found", "upload_expired", "tus_version")


def _says(**headers: str) -> dict[str, Any]:
    """What OpenAPI says of an answer's headers."""
    named = {"Tus-Resumable": "Version of the protocol."} | {n.replace("_", "-"): d for n, d in headers.items()}
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in named.items()}


_STATE = _says(
    Upload_Offset="Bytes that have arrived.",
    Upload_Expires="When the upload is given up, unless bytes arrive.",
    Location="Once the last byte is in: the model or dataset that the file is now.",
)


@router.options(
    "",
    status_code=204,
    summary="Ask what the uploads can do",
    response_class=Response,
    responses={
        204: {
            "headers": _says(
                Tus_Version="Versions of the protocol.",
                Tus_Extension="Extensions of the protocol.",
                Tus_Max_Size="Largest file, in bytes.",
                Tus_Checksum_Algorithm="Algorithms of checksums.",
            )
        }
    },
)
def describe_uploads(service: Parts) -> Response:
    """Version, extensions and limits, in headers."""
    headers = {
        "Tus-Version": tus.VERSION,
        "Tus-Extension": ",".join(tus.EXTENSIONS),
        "Tus-Max-Size": str(service.settings.max_upload_bytes),
        "Tus-Checksum-Algorithm": ",".join(tus.DIGESTS),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    "",
    status_code=201,
    summary="Begin an upload in parts",
    dependencies=[Depends(_version)],
    openapi_extra={"parameters": [_VERSION]},
    responses={
        201: {"headers": _says(Location="Where the parts go.", Upload_Expires="As with each part.")},
        **problems.documented("tus_version", "invalid_request", "body_too_large", "storage_full", "storage_quota"),
    },
)
def begin_upload(
    *,
    upload_length: Annotated[int, Header(ge=0, description="Bytes of the whole file.")],
    upload_metadata: Annotated[
        str,
        Header(
            max_length=tus.MAX_METADATA,
            description="`kind` (`model` or `dataset`), `filename` and `expires_at`, each with its value in base64.",
            examples=["kind bW9kZWw=,filename bW9kZWwucHQy"],
        ),
    ],
    caller: Caller,
    service: Parts,
    response: Response,
) -> wire.PartialUpload:
    """Say what is coming; the bytes follow with `PATCH`, to the address in `Location`, in as many parts as it takes."""
    metadata, settings = tus.read_metadata(upload_metadata), service.settings
    if upload_length > settings.max_upload_bytes:
        raise BodyTooLargeError(f"A file may have {settings.max_upload_bytes:,} bytes.")
    expires_at = admit(service, caller, upload_length, metadata.expires_at)
    with service.database.begin() as session:
        row = stored.create(
            session,
            metadata.kind,
            owner_id=caller.owner_id,
            key_id=caller.key_id,
            name=metadata.filename,
            metadata=upload_metadata,
            size=upload_length,
            upload_expires_at=expires_at,
            keep_seconds=settings.partial_upload_seconds,
        )
        quotas.check_storage(session, caller.owner_id, caller.limits.max_stored_bytes)
    response.headers.update({**tus.state(row), "Location": f"/v1/uploads/{row.id}"})
    return present.partial_upload(row)


@router.head(
    "/{upload_id}",
    summary="Ask how far an upload is",
    dependencies=[Depends(_version)],
    openapi_extra={"parameters": [_VERSION]},
    response_class=Response,
    responses={
        200: {
            "headers": _STATE
            | _says(Upload_Length="Bytes of the whole file.", Upload_Metadata="What was said of it at the beginning.")
        },
        **_NOT_FOUND,
    },
)
async def get_upload_offset(upload: Annotated[partial.Partial, Depends(_upload)]) -> Response:
    """Go on from `Upload-Offset`. If it is all there and there is no `Location`, an empty part brings the answer."""
    row = await upload.settled()
    lasting = {"Upload-Length": str(row.size), "Upload-Metadata": row.metadata_, "Cache-Control": "no-store"}
    return Response(headers={**tus.state(row), **lasting})


@router.get("/{upload_id}", summary="Get an upload", responses=problems.documented("not_found", "upload_expired"))
async def get_upload(upload: Annotated[partial.Partial, Depends(_upload)]) -> wire.PartialUpload:
    """How far it is, and what it has become. That of a file that was refused gets the refusal again."""
    row = await upload.settled()
    if row.error is not None:
        raise RefusedUploadError(row.error)
    return present.partial_upload(row)


@router.patch(
    "/{upload_id}",
    status_code=204,
    summary="Send a part",
    dependencies=[Depends(_version)],
    openapi_extra={"parameters": [_VERSION], "requestBody": _PART},
    response_class=Response,
    responses={
        204: {"headers": _STATE},
        **_NOT_FOUND,
        **problems.documented(
            "invalid_request",
            "bad_request",
            "incomplete_body",
            "body_too_large",
            "body_timeout",
            "upload_offset",
            "upload_busy",
            "checksum_mismatch",
            "storage_full",
            "storage_quota",
            "unsupported_format",
            "invalid_archive",
            "invalid_model",
            "unsupported_operator",
            "invalid_dataset",
        ),
    },
)
async def send_part(
    *,
    request: Request,
    upload: Annotated[partial.Partial, Depends(_upload)],
    upload_offset: Annotated[int, Header(ge=0, le=_MAX_OFFSET, description="Bytes that have arrived before it.")],
    upload_checksum: Annotated[
        str | None, Header(max_length=200, description="`sha1` or `sha256`, a blank, and the part's digest in base64.")
    ] = None,
) -> Response:
    """Bytes are kept as they arrive, so a part may be all that is left of the file.

    The answer to the last one comes when the file has been read through, and is a refusal if it cannot be used.
    """
    if bodies.media_type(request) != tus.MEDIA_TYPE:
        raise UnsupportedFormatError(f"A part is sent with `Content-Type: {tus.MEDIA_TYPE}`.")
    checksum = None if upload_checksum is None else tus.read_checksum(upload_checksum)
    row = await partial.take_in_part(request, upload, upload_offset, checksum)
    return Response(status_code=204, headers=tus.state(row))


@router.delete(
    "/{upload_id}",
    status_code=204,
    summary="Give an upload up",
    dependencies=[Depends(_version)],
    openapi_extra={"parameters": [_VERSION]},
    responses={**_NOT_FOUND, **problems.documented("upload_busy")},
)
def delete_upload(upload: Annotated[partial.Partial, Depends(_upload)]) -> None:
    """What has arrived goes. A model or dataset that it has become stays."""
    with upload.service.database.begin() as session:
        stored.remove(session, upload.id, owner_id=upload.caller.owner_id)

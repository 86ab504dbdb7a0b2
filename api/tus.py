"""The headers of tus 1.0, https://tus.io/protocols/resumable-upload: what they say, and what every answer says."""

from __future__ import annotations

import base64
import hashlib
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from starlette.datastructures import Headers, MutableHeaders

from api.errors import InvalidRequestError, TusVersionError, UnknownChecksumError

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from store.tables import PartialUpload

VERSION = "1.0.0"
MEDIA_TYPE = "application/offset+octet-stream"
MAX_METADATA = 4096  # characters of the header
DIGESTS = {"sha1": 20, "sha256": 32}  # algorithms of checksums, and the bytes that they give
EXTENSIONS = ("creation", "expiration", "checksum", "termination")

_VERSION_REFUSED = 412


class Tus:
    """Does what the protocol asks of every request below a path, and of its answer, refusals too.

    The method may be in a header, for the sake of proxies that let no others pass than GET and POST.

    Args:
        app: What comes next.
        path: Where the uploads are.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not (scope["path"] + "/").startswith(f"{self._path}/"):
            await self._app(scope, receive, send)
            return
        method = Headers(scope=scope).get("x-http-method-override", scope["method"]).upper()

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Tus-Resumable"] = VERSION
                if message["status"] == _VERSION_REFUSED:
                    headers["Tus-Version"] = VERSION
            await send(message)

        await self._app({**scope, "method": method}, receive, send_with_version)


class Metadata(BaseModel):
    """What `Upload-Metadata` says of a file; other keys are kept, and of no meaning here."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal["model", "dataset"]
    filename: str | None = None
    expires_at: AwareDatetime | None = None


class Checksum(NamedTuple):
    """What a part should hash to."""

    algorithm: str
    digest: bytes


def require_version(tus_resumable: str | None) -> None:
    """Look whether a request follows the version of the protocol that is spoken here.

    Raises:
        TusVersionError: If not, or if it does not say.
    """
    if tus_resumable != VERSION:
        said = "no version" if tus_resumable is None else f"version {tus_resumable!r}"
        raise TusVersionError(f"The request names {said} of tus.", hint=f"Send `Tus-Resumable: {VERSION}`.")


def read_metadata(header: str) -> Metadata:
    """`Upload-Metadata`: keys, each followed by a blank and its value in base64, with commas between them.

    Raises:
        InvalidRequestError: If it is not of that form, or says too little.
    """
    values: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, encoded = pair.partition(" ")
        if key in values:
            raise InvalidRequestError(f"`Upload-Metadata` has the key {key!r} twice.")
        try:
            values[key] = base64.b64decode(encoded, validate=True).decode()
        except ValueError as error:
            raise InvalidRequestError(f"`Upload-Metadata` has no UTF-8 in base64 under {key!r}.") from error
    try:
        return Metadata.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        hint = "It takes `kind` (`model` or `dataset`), and may take `filename` and `expires_at` (RFC 3339)."
        raise InvalidRequestError(f"`Upload-Metadata`, {found['loc'][0]}: {found['msg']}.", hint=hint) from error


def read_checksum(header: str) -> Checksum:
    """`Upload-Checksum`: an algorithm, a blank, and a digest in base64.

    Raises:
        UnknownChecksumError: If the algorithm is another than those offered, or this is no digest of it.
    """
    algorithm, _, encoded = header.partition(" ")
    try:
        digest = base64.b64decode(encoded, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != DIGESTS.get(algorithm):
        hint = f"Send one of {', '.join(DIGESTS)}, a blank, and the digest in base64."
        raise UnknownChecksumError("`Upload-Checksum` cannot be used.", hint=hint)
    return Checksum(algorithm, digest)


def new_hash(checksum: Checksum) -> hashlib._Hash:
    """What computes such a checksum; SHA-1 finds faults of the line, and keeps nobody out."""
    return hashlib.new(checksum.algorithm, usedforsecurity=False)


def state(upload: PartialUpload) -> dict[str, str]:
    """The headers that say how far an upload is, and where its file is once it has become one."""
    headers = {"Upload-Offset": str(upload.received), "Upload-Expires": _http_date(upload.expires_at)}
    if upload.result_id is not None:
        headers["Location"] = f"/v1/{upload.kind}s/{upload.result_id}"
    return headers


def _http_date(moment: datetime) -> str:
    """RFC 9110, 5.6.7. Postgres' times are in UTC already."""
    return format_datetime(moment, usegmt=True)

"""A file on its way from the service: resumed where it broke off, checked, and there under its name only when whole."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from octet.client.errors import DamagedDownloadError, ServiceError, ServiceUnreachableError, UnexpectedAnswerError
from octet.client.outage import Outage

if TYPE_CHECKING:
    from collections.abc import Callable

    from octet.client.transport import Transport
    from octet.wire import Artifact

    OnBytes = Callable[[int], None]


def download(transport: Transport, artifact: Artifact, directory: Path, on_bytes: OnBytes) -> Path:
    """Bring `artifact` into `directory` under its own name.

    What arrives is kept in a hidden `.part` file named after the content, so that a later call goes on where an earlier
    one broke off. A file that is there already with the right content is left alone.

    Args:
        transport: The connection.
        artifact: What to fetch.
        directory: Where to; it exists.
        on_bytes: Called with the number of bytes that were gained.

    Raises:
        DamagedDownloadError: If the bytes are not those the service holds.
        ServiceUnreachableError: If the connection broke and could not be taken up again.
    """
    target = directory / _file_name(artifact)
    if target.is_file() and _sha256(target) == artifact.sha256:
        on_bytes(artifact.size)
        return target
    part = directory / f".{target.name}.{artifact.sha256[:16]}.part"
    part.touch()
    on_bytes(part.stat().st_size)
    _complete(transport, artifact, part, on_bytes)
    if _sha256(part) != artifact.sha256:
        part.unlink()
        raise _damaged(artifact)
    part.replace(target)
    return target


def _complete(transport: Transport, artifact: Artifact, part: Path, on_bytes: OnBytes) -> None:
    """Fetch what `part` lacks, over as many connections as it takes."""
    outage = Outage(transport.patience)
    while (have := part.stat().st_size) < artifact.size:
        try:
            return _fetch(transport, artifact, part, have, on_bytes)
        except (ServiceError, ServiceUnreachableError) as error:
            if part.stat().st_size > have:
                outage.over()
            outage.bear(error)
    return None


def _fetch(transport: Transport, artifact: Artifact, part: Path, have: int, on_bytes: OnBytes) -> None:
    """Append to `part`, which holds `have` bytes, what one connection gives."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    with transport.stream(f"artifacts/{artifact.id}/content", headers) as response, part.open("ab") as file:
        _check_digest(response, artifact)
        if have and response.status_code != httpx.codes.PARTIAL_CONTENT:
            file.truncate(0)
            on_bytes(-have)
        for chunk in response.iter_raw():  # as it arrives: what a larger one had gathered would go with the connection
            file.write(chunk)
            on_bytes(len(chunk))


def _check_digest(response: httpx.Response, artifact: Artifact) -> None:
    """Refuse a body that does not say it is this one. RFC 9530: `Repr-Digest` is of the whole file, ranges too."""
    digest = response.headers.get("Repr-Digest")
    if digest is None:
        raise UnexpectedAnswerError(
            f"Something else than the service answered to the download of {artifact.name}.",
            hint="Check the service's address (OCTET_URL), and what stands between here and there.",
        )
    expected = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    if f"sha-256=:{expected}:" not in digest:
        raise _damaged(artifact)


def _damaged(artifact: Artifact) -> DamagedDownloadError:
    return DamagedDownloadError(
        f"{artifact.name} of job {artifact.job} arrived with another content than the service holds.",
        hint="Download it again.",
    )


def _file_name(artifact: Artifact) -> str:
    """The artifact's name, if it is the name of a file and not a way out of the directory."""
    if Path(artifact.name).name != artifact.name or artifact.name in {"", ".", ".."}:
        raise UnexpectedAnswerError(f"The service names a file {artifact.name!r}, which is not a file name.")
    return artifact.name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

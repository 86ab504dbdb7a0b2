"""What a caller of tus does."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

TUS = {"Tus-Resumable": "1.0.0"}


def metadata(**values: str) -> str:
    """The header `Upload-Metadata`."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def begin(api: httpx.Client, length: int, **values: str) -> str:
    """Begin an upload of a dataset, or of what `kind` says; its path below /v1/."""
    said = metadata(**{"kind": "dataset", **values})
    answer = api.post("uploads", headers={**TUS, "Upload-Length": str(length), "Upload-Metadata": said})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"].removeprefix("/v1/")


def part(api: httpx.Client, path: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
    """Send a part."""
    head = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream", **headers}
    return api.patch(path, headers=head, content=data)


def offset(api: httpx.Client, path: str) -> int:
    """How far the upload is."""
    answer = api.head(path, headers=TUS)
    assert answer.status_code == 200, answer.status_code
    return int(answer.headers["upload-offset"])

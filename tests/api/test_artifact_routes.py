"""The content of stored files over HTTP: ranges, entity tags, digests, names."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from asking import problem
from example_report import REPORT

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from asking import Worker

CONTENT = bytes(range(256)) * 12_000  # a little less than three of the store's chunks


@pytest.fixture
def path(api: httpx.Client, job: str, worker: Worker, tmp_path: Path) -> str:
    """Where an artifact is."""
    file = tmp_path / "modèle “1”.pt"
    file.write_bytes(CONTENT)
    worker.start(job)
    worker.succeed(job, REPORT, file)
    return f"artifacts/{api.get(f'jobs/{job}/artifacts').json()[0]['id']}/content"


def test_a_whole_file_comes_with_its_digest_and_its_name(api: httpx.Client, path: str) -> None:
    answer = api.get(path)

    assert answer.content == CONTENT
    digest = hashlib.sha256(CONTENT)
    assert answer.headers["etag"] == f'"{digest.hexdigest()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"mod_le _1_.pt\"; filename*=UTF-8''mod%C3%A8le%20%E2%80%9C1%E2%80%9D.pt"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1048570-1048585", 1048570, 1048586),
        ("bytes=3071990-", 3071990, 3072000),
        ("bytes=-5", 3071995, 3072000),
        ("bytes=-9999999", 0, 3072000),
        ("bytes=3071990-9999999", 3071990, 3072000),
    ],
)
def test_a_range_is_a_part(asked: str, start: int, end: int, api: httpx.Client, path: str) -> None:
    answer = api.get(path, headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/3072000"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=3072000-", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(asked: str, api: httpx.Client, path: str) -> None:
    answer = api.get(path, headers={"Range": asked})

    assert problem(answer) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */3072000"


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b", "bytes=-", f"bytes={'9' * 5000}-"]
)
def test_what_is_not_one_range_of_bytes_is_ignored(asked: str, api: httpx.Client, path: str) -> None:
    answer = api.get(path, headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_a_range_of_another_version_is_the_whole_file(api: httpx.Client, path: str) -> None:
    tag = api.head(path).headers["etag"]

    assert api.get(path, headers={"Range": "bytes=0-1", "If-Range": tag}).status_code == 206
    assert api.get(path, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status_code == 200


def test_head_tells_all_but_the_content(api: httpx.Client, path: str) -> None:
    whole, head = api.get(path), api.head(path, headers={"Range": "bytes=0-1"})

    assert (head.status_code, head.content) == (200, b"")
    same = ("content-length", "etag", "repr-digest", "content-disposition", "content-type", "accept-ranges")
    assert [head.headers[name] for name in same] == [whole.headers[name] for name in same]


def test_what_the_caller_has_is_not_sent_again(api: httpx.Client, path: str) -> None:
    tag = api.head(path).headers["etag"]

    assert api.get(path, headers={"If-None-Match": f'"other", W/{tag}'}).status_code == 304
    assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("kind", ["artifacts", "models", "datasets"])
def test_the_content_of_nothing_is_not_found(kind: str, api: httpx.Client) -> None:
    assert problem(api.get(f"{kind}/{uuid4()}/content")) == (404, "not_found")

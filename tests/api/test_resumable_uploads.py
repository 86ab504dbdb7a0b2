"""Uploads in parts: tus 1.0, as its specification has it."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx
import pytest
from asking import connection, left_behind, part_head, problem, until
from resuming import TUS, begin, metadata, offset, part
from serving import serve_in_a_process
from sqlalchemy import func, select

from store import locks
from store.tables import PartialUpload, PartialUploadChunk

if TYPE_CHECKING:
    from pathlib import Path

    from store.database import Database
    from store.settings import Settings


@pytest.fixture
def path(api: httpx.Client, data_file: bytes) -> str:
    """An upload of `data_file` of which nothing has arrived."""
    return begin(api, len(data_file), filename="digits.npz")


def _chunks(database: Database) -> int:
    with database.begin() as session:
        return session.scalar(select(func.count()).select_from(PartialUploadChunk)) or 0


def test_what_the_service_can_do_is_said(api: httpx.Client) -> None:
    answer = api.options("uploads")

    assert answer.status_code == 204
    assert answer.headers["tus-resumable"] == answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,expiration,checksum,termination"
    assert answer.headers["tus-max-size"] == str(2**20)
    assert answer.headers["tus-checksum-algorithm"] == "sha1,sha256"


def test_a_file_in_parts_becomes_what_it_would_in_one(
    api: httpx.Client, model_file: bytes, database: Database, spool: Path
) -> None:
    path = begin(api, len(model_file), kind="model", filename="tiny.pt2")
    third = len(model_file) // 3
    for start in (0, third):
        answer = part(api, path, start, model_file[start : start + third])
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(start + third))
        assert "location" not in answer.headers

    answer = part(api, path, 2 * third, model_file[2 * third :])

    assert answer.status_code == 204
    model = api.get(answer.headers["location"].removeprefix("/v1/")).json()
    assert (model["name"], model["sha256"]) == ("tiny.pt2", hashlib.sha256(model_file).hexdigest())
    assert api.get(f"models/{model['id']}/content").content == model_file
    assert api.post("models", content=model_file).json() == model
    assert api.get(path).json()["result"] == model["id"]
    assert _chunks(database) == 0
    assert not any(spool.iterdir())


def test_how_far_it_is_can_be_asked(api: httpx.Client, path: str, data_file: bytes) -> None:
    part(api, path, 0, data_file[:100])

    answer = api.head(path, headers=TUS)

    assert answer.status_code == 200
    assert answer.headers["upload-offset"] == "100"
    assert answer.headers["upload-length"] == str(len(data_file))
    assert answer.headers["upload-metadata"] == metadata(kind="dataset", filename="digits.npz")
    assert answer.headers["cache-control"] == "no-store"
    assert parsedate_to_datetime(answer.headers["upload-expires"]).tzinfo
    assert api.get(path).json()["received"] == 100


def test_a_lost_answer_can_be_asked_for(api: httpx.Client, path: str, data_file: bytes) -> None:
    answer = part(api, path, 0, data_file)

    assert api.head(path, headers=TUS).headers["location"] == answer.headers["location"]
    assert part(api, path, len(data_file), b"").headers["location"] == answer.headers["location"]


def test_a_part_that_does_not_follow_is_refused(api: httpx.Client, path: str, data_file: bytes) -> None:
    part(api, path, 0, data_file[:100])

    assert problem(part(api, path, 50, data_file[50:])) == (409, "upload_offset")
    assert offset(api, path) == 100


def test_a_part_beyond_the_end_is_refused(api: httpx.Client, path: str, data_file: bytes) -> None:
    assert problem(part(api, path, 0, data_file + b"x")) == (413, "body_too_large")
    unannounced = httpx.Request(
        "PATCH",
        api.base_url.join(path),
        headers={**api.headers, **TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
        content=iter([data_file, b"x"]),
    )
    assert problem(api.send(unannounced)) == (413, "body_too_large")
    assert offset(api, path) == 0


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_part_is_kept_only_if_it_has_its_checksum(
    api: httpx.Client, path: str, data_file: bytes, algorithm: str
) -> None:
    digest = base64.b64encode(hashlib.new(algorithm, data_file[:100]).digest()).decode()
    checksum = {"Upload-Checksum": f"{algorithm} {digest}"}

    assert problem(part(api, path, 0, data_file[:99] + b"?", **checksum)) == (460, "checksum_mismatch")
    assert offset(api, path) == 0
    assert part(api, path, 0, data_file[:100], **checksum).headers["upload-offset"] == "100"


@pytest.mark.parametrize("checksum", ["md5 1B2M2Y8AsgTpgAmY7PhCfg==", "sha1 AAAA", "sha256", "sha1 \u00e9", ""])
def test_a_checksum_that_cannot_be_used_is_refused(api: httpx.Client, path: str, checksum: str) -> None:
    answer = part(api, path, 0, b"abc", **{"Upload-Checksum": checksum.encode("latin-1")})  # type: ignore[dict-item] # bytes

    assert problem(answer) == (400, "bad_request")
    assert offset(api, path) == 0


def test_a_refused_file_is_refused_like_any_other_and_again(api: httpx.Client, database: Database, spool: Path) -> None:
    torn = b"PK\x03\x04" + bytes(200)
    path = begin(api, len(torn), kind="model")

    answer = part(api, path, 0, torn)

    refusal = api.post("models", content=torn)
    assert problem(answer) == problem(refusal) == (422, "invalid_archive")
    assert answer.json() == refusal.json()
    for again in (part(api, path, len(torn), b""), api.get(path)):
        assert again.json() == refusal.json()
    assert left_behind(database, spool) == []
    assert _chunks(database) == 0


def test_a_wrong_format_is_refused_by_its_first_bytes(api: httpx.Client) -> None:
    path = begin(api, 10**6, kind="model")

    assert problem(part(api, path, 0, b"\x80\x04" + bytes(5000))) == (415, "unsupported_format")
    assert problem(part(api, path, 5002, bytes(100))) == (415, "unsupported_format")


def test_an_empty_file_is_refused_with_its_first_part(api: httpx.Client) -> None:
    assert problem(part(api, begin(api, 0, kind="model"), 0, b"")) == (415, "unsupported_format")
    assert problem(part(api, begin(api, 0, kind="dataset"), 0, b"")) == (422, "invalid_dataset")


@pytest.mark.parametrize("version", [None, "0.2.2", "2.0.0"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_another_version_of_the_protocol_is_refused(
    api: httpx.Client, path: str, method: str, version: str | None
) -> None:
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    if version is not None:
        headers["Tus-Resumable"] = version

    answer = api.request(method, "uploads" if method == "POST" else path, headers=headers)

    assert answer.status_code == 412
    assert answer.headers["tus-version"] == "1.0.0"
    if method != "HEAD":
        assert problem(answer) == (412, "tus_version")
    assert offset(api, path) == 0


def test_every_answer_names_the_version_refusals_too(api: httpx.Client, path: str) -> None:
    for answer in (
        api.get(path),
        part(api, path, 5, b""),
        api.get("uploads/nothing"),
        httpx.post(str(api.base_url.join("uploads"))),
    ):
        assert answer.headers["tus-resumable"] == "1.0.0"
    assert "tus-resumable" not in api.get("models").headers


@pytest.mark.parametrize(
    "said",
    [
        "kind bW9kZWw=,kind bW9kZWw=",
        "kind !",
        "kind",
        "filename bW9kZWw=",
        "kind /w==",
        metadata(kind="program"),
        metadata(kind="model", expires_at="tomorrow"),
        "",
        "x" * 5000,
    ],
)
def test_metadata_that_cannot_be_read_is_refused(api: httpx.Client, said: str) -> None:
    answer = api.post("uploads", headers={**TUS, "Upload-Length": "5", "Upload-Metadata": said})

    assert problem(answer) == (422, "invalid_request")


def test_a_length_beyond_the_limit_is_refused_at_once(api: httpx.Client) -> None:
    said = metadata(kind="model")
    for length in (2**20 + 1, 2**80):
        answer = api.post("uploads", headers={**TUS, "Upload-Length": str(length), "Upload-Metadata": said})
        assert problem(answer) == (413, "body_too_large")
    for length in ("-1", "many"):
        answer = api.post("uploads", headers={**TUS, "Upload-Length": length, "Upload-Metadata": said})
        assert problem(answer) == (422, "invalid_request")


def test_a_part_of_another_media_type_is_refused(api: httpx.Client, path: str) -> None:
    answer = api.patch(path, headers={**TUS, "Upload-Offset": "0", "Content-Type": "text/plain"}, content=b"abc")

    assert problem(answer) == (415, "unsupported_format")


def test_capitals_in_a_media_type_mean_nothing(api: httpx.Client, path: str, data_file: bytes) -> None:
    assert part(api, path, 0, data_file[:9], **{"Content-Type": "Application/Offset+Octet-Stream"}).status_code == 204
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.npz"\r\n\r\n' + data_file + b"\r\n--x--"
    answer = api.post("datasets", content=form, headers={"Content-Type": "Multipart/Form-Data; boundary=x"})
    assert (answer.status_code, answer.json()["name"]) == (201, "a.npz")


def test_an_upload_can_be_given_up(api: httpx.Client, path: str, database: Database) -> None:
    part(api, path, 0, b"PK\x03\x04")

    assert api.delete(path, headers=TUS).status_code == 204
    assert problem(part(api, path, 4, b"abc")) == (404, "not_found")
    assert api.head(path, headers=TUS).status_code == 404
    assert _chunks(database) == 0


def test_what_an_upload_has_become_outlives_it(api: httpx.Client, path: str, data_file: bytes) -> None:
    dataset = part(api, path, 0, data_file).headers["location"].removeprefix("/v1/")

    assert api.delete(path, headers=TUS).status_code == 204
    assert api.get(dataset).status_code == 200


def test_an_upload_that_was_given_up_says_so(api: httpx.Client, path: str, database: Database) -> None:
    with database.begin() as session:
        session.execute(PartialUpload.__table__.update().values(expires_at=func.now()))

    assert api.head(path, headers=TUS).status_code == 410
    assert problem(part(api, path, 0, b"abc")) == (410, "upload_expired")


def test_a_method_may_be_in_a_header(api: httpx.Client, path: str) -> None:
    headers = {**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}

    answer = api.post(path, headers={**headers, "X-HTTP-Method-Override": "PATCH"}, content=b"abc")

    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "3")


@pytest.mark.parametrize("said", ["../../etc/pass\u202ewd\n.npz", "C:\\data\\pass\u2066wd.npz", "passwd.npz"])
def test_a_name_is_a_label_and_no_path(api: httpx.Client, data_file: bytes, said: str) -> None:
    result = part(api, begin(api, len(data_file), filename=said), 0, data_file).headers["location"]

    assert api.get(result.removeprefix("/v1/")).json()["name"] == "passwd.npz"


def test_what_has_arrived_of_a_part_that_breaks_off_is_kept(url: str, key: str, api: httpx.Client) -> None:
    path = begin(api, 10**6)
    with connection(url) as caller:
        caller.sendall(part_head(key, path, 10**6) + b"PK\x03\x04" + bytes(300_000))
        until(lambda: offset(api, path) == 0)  # nothing is known of it before the caller hangs up or a block is full

    until(lambda: offset(api, path) > 0)
    assert offset(api, path) >= 300_004 - 2**16


def test_of_two_that_send_the_same_part_neither_spoils_it(
    url: str, key: str, data_file: bytes, api: httpx.Client
) -> None:
    path = begin(api, len(data_file))
    answers: list[httpx.Response] = []

    def send() -> None:
        with httpx.Client(base_url=f"{url}/v1/", headers={"Authorization": f"Bearer {key}"}, trust_env=False) as other:
            answers.append(part(other, path, 0, data_file))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {answer.status_code for answer in answers} <= {204, 409, 423}
    until(lambda: part(api, path, len(data_file), b"").status_code == 204)
    result = api.head(path, headers=TUS).headers["location"].removeprefix("/v1/")
    assert api.get(f"{result}/content").content == data_file


def test_another_api_goes_on_where_a_killed_one_was(settings: Settings, key: str, api: httpx.Client) -> None:
    size = 5 * 2**20
    content = b"PK\x03\x04" + os.urandom(size - 4)
    headers = {"Authorization": f"Bearer {key}"}
    with serve_in_a_process(settings) as (url, process):
        with httpx.Client(base_url=f"{url}/v1/", headers=headers, trust_env=False) as client:
            path = begin(client, size)
        with connection(url) as caller:
            caller.sendall(part_head(key, path, size) + content[: 3 * 2**20 + 2**19])
            until(lambda: offset(api, path) >= 3 * 2**20)
            process.kill()
            process.wait()

    at = offset(api, path)

    assert at == 3 * 2**20
    assert part(api, path, at, content[at : at + 2**20 - 100]).headers["upload-offset"] == str(at + 2**20 - 100)


def test_whoever_asks_again_while_the_file_is_read_gets_the_same_answer(
    url: str, key: str, model_file: bytes, api: httpx.Client, database: Database
) -> None:
    path = begin(api, len(model_file), kind="model")
    part(api, path, 0, model_file[:-1])
    locations: list[str] = []

    def ask(start: int, data: bytes) -> None:
        with httpx.Client(base_url=f"{url}/v1/", headers={"Authorization": f"Bearer {key}"}, trust_env=False) as other:
            answer = part(other, path, start, data)
            if answer.status_code == 204:
                locations.append(answer.headers["location"])

    first = threading.Thread(target=ask, args=(len(model_file) - 1, model_file[-1:]))
    with database.begin() as session:  # which holds up whoever stores that content
        locks.content(session, hashlib.sha256(model_file).hexdigest())
        first.start()
        until(lambda: offset(api, path) == len(model_file))
        second = threading.Thread(target=ask, args=(len(model_file), b""))
        second.start()
    first.join()
    second.join()

    assert len(locations) == 2
    assert len(set(locations)) == 1

"""Uploads over HTTP: models and datasets share one way in."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest
import torch
from asking import connection, left_behind, problem, spooling, until, upload_head
from serving import serve_in_a_process
from sqlalchemy import func, select

import octet
from store.tables import Blob

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx

    from store.database import Database
    from store.settings import Settings


def test_a_model_is_stored_and_described(api: httpx.Client, model_file: bytes) -> None:
    answer = api.post("models", params={"name": "tiny.pt2"}, content=model_file)

    assert answer.status_code == 201
    model = answer.json()
    assert answer.headers["location"] == f"/v1/models/{model['id']}"
    assert model["name"] == "tiny.pt2"
    assert model["sha256"] == hashlib.sha256(model_file).hexdigest()
    assert model["size"] == len(model_file)
    assert model["parameters"] == 67
    assert [tensor["shape"] for tensor in model["inputs"]] == [["batch", 4]]
    assert api.get(answer.headers["location"].removeprefix("/v1/")).json() == model
    layers = api.get(f"models/{model['id']}/layers").json()["data"]
    assert [layer["type"] for layer in layers] == ["Linear", "ReLU", "Linear"]
    assert {each["runs"] for each in layers[0]["outlook"]} == {"dynamic", "static", "qat"}


def test_what_became_of_a_model_as_it_was_read_is_told(api: httpx.Client, tmp_path: Path) -> None:
    path = octet.export(torch.nn.Linear(4, 2).half(), torch.randn(2, 4).half(), tmp_path / "half.pt2")
    [note] = api.post("models", content=path.read_bytes()).json()["notes"]
    assert "float16" in note
    assert "brought to float32" in note


def test_the_same_bytes_are_the_same_model(api: httpx.Client, model: str, model_file: bytes) -> None:
    answer = api.post("models", params={"name": "another name"}, content=model_file)

    assert answer.status_code == 200
    assert answer.json()["id"] == model
    assert len(api.get("models").json()["data"]) == 1


def test_a_form_is_as_good_as_a_raw_body(api: httpx.Client, model_file: bytes) -> None:
    answer = api.post("models", files={"file": ("from-a-form.pt2", model_file)})

    assert answer.status_code == 201
    assert answer.json()["name"] == "from-a-form.pt2"
    assert answer.json()["sha256"] == hashlib.sha256(model_file).hexdigest()


def test_a_forms_name_goes_before_its_files(api: httpx.Client, model_file: bytes) -> None:
    answer = api.post("models", files={"file": ("a.pt2", model_file)}, data={"name": "mine"})

    assert answer.json()["name"] == "mine"


def test_what_is_stored_is_what_was_sent(api: httpx.Client, model: str, model_file: bytes) -> None:
    assert api.get(f"models/{model}/content").content == model_file


# What is refused, by its first bytes or by what is in it, and what the answer is called.
FOREIGN = {
    "text": (b"hello, this is no model", 415, "unsupported_format"),
    "empty": (b"", 415, "unsupported_format"),
    "pickle": (b"\x80\x04\x95" + bytes(64), 415, "unsupported_format"),
    "safetensors": (b"\x10\x00\x00\x00\x00\x00\x00\x00{}              ", 415, "unsupported_format"),
    "onnx": (b"\x08\x07\x12\x07pytorch", 415, "unsupported_format"),
    "torn zip": (b"PK\x03\x04" + bytes(200), 422, "invalid_archive"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_model_is_refused_and_leaves_nothing(
    name: str, api: httpx.Client, database: Database, spool: Path
) -> None:
    body, status, code = FOREIGN[name]

    answer = api.post("models", content=body)

    assert problem(answer) == (status, code)
    assert answer.json()["detail"].endswith(".")
    assert left_behind(database, spool) == []


def test_a_torn_upload_is_refused_and_leaves_nothing(
    api: httpx.Client, model_file: bytes, database: Database, spool: Path
) -> None:
    answer = api.post("models", content=model_file[: len(model_file) // 2])

    assert problem(answer) == (422, "invalid_archive")
    assert left_behind(database, spool) == []


def test_a_wrong_format_is_refused_before_the_rest_has_come(
    url: str, key: str, database: Database, spool: Path
) -> None:
    with connection(url) as caller:
        caller.sendall(upload_head(key, 10**6) + b"\x80\x04" + bytes(2**19))

        assert b"415" in caller.recv(4096).split(b"\r\n")[0]
    assert left_behind(database, spool) == []


def test_a_caller_that_hangs_up_leaves_nothing(
    url: str, key: str, model_file: bytes, database: Database, spool: Path
) -> None:
    with connection(url) as caller:
        caller.sendall(upload_head(key, 10**6) + model_file)
        until(lambda: spooling(os.getpid(), spool))

    until(lambda: not spooling(os.getpid(), spool))
    assert left_behind(database, spool) == []


def test_an_api_that_is_killed_leaves_nothing(settings: Settings, key: str, model_file: bytes, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    with serve_in_a_process(settings, OCTET_SPOOL_DIR=str(spool)) as (url, process), connection(url) as caller:
        caller.sendall(upload_head(key, 10**6) + model_file)
        until(lambda: spooling(process.pid, spool))
        process.kill()
        process.wait()

    assert not any(spool.iterdir())


def test_an_announced_body_over_the_limit_is_refused_at_once(url: str, key: str) -> None:
    with connection(url) as caller:
        caller.sendall(upload_head(key, 2**20 + 1))

        assert b"413" in caller.recv(4096).split(b"\r\n")[0]


def test_a_body_that_grows_over_the_limit_is_refused(api: httpx.Client, database: Database, spool: Path) -> None:
    answer = api.post("models", content=iter([b"PK\x03\x04" + bytes(2**20)]))

    assert problem(answer) == (413, "body_too_large")
    assert "1,048,576 bytes" in answer.json()["detail"]
    assert left_behind(database, spool) == []


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n", 422, "invalid_request"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="m.pt2"\r\n\r\nPK\x03\x04',
            400,
            "incomplete_body",
        ),
        (b"no form at all", 422, "invalid_request"),
    ],
    ids=["without a file", "that breaks off", "that is none"],
)
def test_a_form_is_refused(form: bytes, status: int, code: str, api: httpx.Client, spool: Path) -> None:
    answer = api.post("models", content=form, headers={"Content-Type": "multipart/form-data; boundary=x"})

    assert problem(answer) == (status, code)
    assert not any(spool.iterdir())


@pytest.mark.parametrize("boundary", ["", f"; boundary={'x' * 71}", f"; boundary={'x' * 300}", '; boundary=""'])
def test_a_form_without_a_boundary_that_is_one_is_refused(boundary: str, api: httpx.Client) -> None:
    answer = api.post("models", content=b"--x--", headers={"Content-Type": f"multipart/form-data{boundary}"})

    assert problem(answer) == (422, "invalid_request")


def test_two_files_in_a_form_are_refused(api: httpx.Client, model_file: bytes, database: Database, spool: Path) -> None:
    answer = api.post("models", files=[("file", ("a.pt2", model_file)), ("file", ("b.pt2", model_file))])

    assert problem(answer) == (422, "invalid_request")
    assert left_behind(database, spool) == []


def test_a_dataset_is_stored_and_described(api: httpx.Client, data_file: bytes) -> None:
    answer = api.post("datasets", content=data_file)

    assert answer.status_code == 201
    dataset = answer.json()
    assert dataset["name"] == dataset["sha256"][:12]
    assert dataset["samples"] == 16
    assert dataset["arrays"]["input_0"]["dtype"] == "float32"
    assert dataset["arrays"]["label"]["maximum"] == 2
    assert api.get(f"datasets/{dataset['id']}/content").content == data_file


@pytest.mark.parametrize("body", [b"", b"not data", b"PK\x03\x04" + bytes(50)], ids=["empty", "text", "torn zip"])
def test_what_is_no_dataset_is_refused_and_leaves_nothing(
    body: bytes, api: httpx.Client, database: Database, spool: Path
) -> None:
    answer = api.post("datasets", content=body)

    assert problem(answer) == (422, "invalid_dataset")
    assert left_behind(database, spool) == []


def test_a_label_is_one_line_of_print(api: httpx.Client, model_file: bytes) -> None:
    assert api.post("models", params={"name": "a\0\r\nb.pt2"}, content=model_file).json()["name"] == "ab.pt2"


def test_lists_are_newest_first_and_go_on_where_a_page_ended(api: httpx.Client, npz: Callable[..., bytes]) -> None:
    ids = [api.post("datasets", content=npz(input_0=[[float(number)]])).json()["id"] for number in range(3)]

    first = api.get("datasets", params={"limit": 2}).json()
    second = api.get("datasets", params={"limit": 2, "after": first["next"]}).json()

    assert [entry["id"] for entry in first["data"]] == ids[:0:-1]
    assert first["has_more"]
    assert [entry["id"] for entry in second["data"]] == ids[:1]
    assert (second["has_more"], second["next"]) == (False, None)


def test_a_deleted_model_is_gone_and_its_bytes_too(api: httpx.Client, model: str, database: Database) -> None:
    assert api.delete(f"models/{model}").status_code == 204

    assert problem(api.get(f"models/{model}")) == (410, "model_deleted")
    assert api.get("models").json()["data"] == []
    with database.begin() as session:
        assert session.scalar(select(func.count()).select_from(Blob)) == 0


def test_a_model_that_a_job_needs_stays(api: httpx.Client, model: str, job: str) -> None:
    assert problem(api.delete(f"models/{model}")) == (409, "in_use")

    api.post(f"jobs/{job}/cancel")
    assert api.delete(f"models/{model}").status_code == 204

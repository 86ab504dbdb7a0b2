"""What stands between a stranger's bytes and the service's disks, and how long things are kept."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from asking import connection, left_behind, part_head, problem, upload_head
from example_report import REPORT
from resuming import TUS, begin, metadata, offset, part
from serving import serve
from sqlalchemy import select, update

from api.app import create_app
from store import retention
from store.tables import ApiKey, AuditEntry, Model

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from asking import Worker

    from store.database import Database
    from store.settings import Settings


@contextmanager
def _served(settings: Settings, key: str, **changes: object) -> Iterator[httpx.Client]:
    """A caller of a service with other settings."""
    with (
        serve(create_app(settings.model_copy(update=changes))) as url,
        httpx.Client(base_url=f"{url}/v1/", headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client,
    ):
        yield client


def test_a_body_that_stands_still_is_given_up(settings: Settings, key: str, database: Database, tmp_path: Path) -> None:
    with _served(settings, key, spool_dir=tmp_path, body_idle_seconds=0.2) as client:
        path = begin(client, 1000)
        url = f"http://{client.base_url.host}:{client.base_url.port}"
        for head in (upload_head(key, 1000), part_head(key, path, 1000), _job_head(key)):
            with connection(url) as caller:
                caller.sendall(head + b"PK\x03\x04")
                answer = _all(caller)
                assert b"408" in answer.split(b"\r\n")[0]
                assert b"urn:octet:error:body_timeout" in answer
        assert offset(client, path) == 4
    assert left_behind(database, tmp_path) == []


def test_a_body_that_is_slow_but_moves_is_borne(settings: Settings, key: str, data_file: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, len(data_file), 100):
            time.sleep(0.02)
            yield data_file[start : start + 100]

    with _served(settings, key, body_idle_seconds=0.3) as client:
        assert client.post("datasets", content=pieces()).status_code == 201


def test_a_body_that_trickles_is_given_up(settings: Settings, key: str) -> None:
    with _served(settings, key, body_idle_seconds=0.5) as client:
        url = f"http://{client.base_url.host}:{client.base_url.port}"
        with connection(url) as caller, suppress(OSError):
            caller.sendall(upload_head(key, 1000) + b"PK\x03\x04")
            for _ in range(200):  # never still for long enough to be idle
                caller.sendall(b"a")
                time.sleep(0.05)
            pytest.fail("it was borne")


def test_an_answer_before_the_bodys_end_closes_the_connection(url: str, key: str) -> None:
    for head in (upload_head(key, 10**6), upload_head("octet_nobody", 10**6), upload_head(key, 2**40)):
        with connection(url) as caller:
            caller.sendall(head + b"\x80\x04" + bytes(2**19 if head == upload_head(key, 10**6) else 0))
            assert b"\r\nconnection: close\r\n" in _all(caller).lower()  # and it is closed, or this would not return


def test_a_full_disk_is_told_before_anything_is_sent(settings: Settings, key: str, database: Database) -> None:
    free = shutil.disk_usage("/tmp").free  # noqa: S108 - the system's, where these uploads wait
    with _served(settings, key, spool_dir=None, min_free_bytes=2 * free) as client:
        head = {**TUS, "Upload-Length": "5", "Upload-Metadata": metadata(kind="model")}
        assert problem(client.post("uploads", headers=head)) == (507, "storage_full")
        assert problem(client.post("models", content=b"PK\x03\x04")) == (507, "storage_full")
        assert problem(client.post("models", content=iter([b"PK\x03\x04"]))) == (507, "storage_full")
    with database.begin() as session:
        assert not session.scalars(select(Model)).all()


def test_a_quota_holds_for_every_way_in(
    api: httpx.Client, model: str, model_file: bytes, data_file: bytes, database: Database
) -> None:
    _limit(database, len(model_file) + 10_000)
    path = begin(api, 9_500)
    again = {**TUS, "Upload-Length": "2000", "Upload-Metadata": metadata(kind="dataset")}

    assert problem(api.post("uploads", headers=again)) == (507, "storage_quota")
    assert problem(api.post("datasets", content=data_file)) == (507, "storage_quota")
    assert problem(api.post("datasets", content=iter([data_file]))) == (507, "storage_quota")
    assert api.get("datasets").json()["data"] == []
    assert api.delete(path, headers=TUS).status_code == 204
    assert api.post("datasets", content=data_file).status_code == 201
    assert api.get(f"models/{model}").status_code == 200


def test_an_owner_beyond_the_quota_gets_no_further_job_until_something_is_deleted(
    api: httpx.Client, model: str, worker: Worker, database: Database, tmp_path: Path
) -> None:
    _limit(database, api.get(f"models/{model}").json()["size"])
    (tmp_path / "model.pt").write_bytes(b"int8")
    asked = {"model": model, "recipe": {"method": "dynamic"}}
    job = api.post("jobs", json=asked).json()["id"]
    worker.start(job)
    worker.succeed(job, REPORT, tmp_path / "model.pt")

    assert problem(api.post("jobs", json=asked)) == (507, "storage_quota")
    assert api.delete(f"jobs/{job}").status_code == 204
    assert api.post("jobs", json=asked).status_code == 202


def test_a_file_in_parts_is_counted_once(api: httpx.Client, data_file: bytes, database: Database) -> None:
    _limit(database, len(data_file))

    assert "location" in part(api, begin(api, len(data_file)), 0, data_file).headers


def test_an_upload_is_deleted_when_its_time_has_come(
    api: httpx.Client, model_file: bytes, data_file: bytes, database: Database
) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    model = api.post("models", params={"expires_at": moment.isoformat()}, content=model_file).json()
    path = begin(api, len(data_file), expires_at=moment.isoformat())
    data = api.get(part(api, path, 0, data_file).headers["location"].removeprefix("/v1/")).json()
    assert {datetime.fromisoformat(each["expires_at"]) for each in (model, data)} == {moment}
    with database.begin() as session:
        session.execute(update(Model).values(expires_at=datetime.now(UTC)))

    assert retention.sweep(database) == 1

    assert problem(api.get(f"models/{model['id']}")) == (410, "model_deleted")
    assert api.get(f"datasets/{data['id']}").status_code == 200


@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "2100-01-01T00:00:00", "soon"])
def test_a_moment_that_cannot_be_kept_is_refused(api: httpx.Client, model: str, model_file: bytes, moment: str) -> None:
    job = {"model": model, "recipe": {"method": "dynamic"}, "expires_at": moment}
    head = {**TUS, "Upload-Length": "5", "Upload-Metadata": metadata(kind="model", expires_at=moment)}

    for answer in (
        api.post("models", params={"expires_at": moment}, content=model_file),
        api.post("jobs", json=job),
        api.post("uploads", headers=head),
    ):
        assert problem(answer) == (422, "invalid_request")


def test_the_service_may_say_how_long_things_are_kept(
    settings: Settings, key: str, model_file: bytes, data_file: bytes
) -> None:
    with _served(settings, key, upload_retention_seconds=3600.0, job_retention_seconds=60.0) as client:
        model = client.post("models", content=model_file).json()
        path = part(client, begin(client, len(data_file)), 0, data_file).headers["location"]
        data = client.get(path.removeprefix("/v1/")).json()
        job = client.post("jobs", json={"model": model["id"], "recipe": {"method": "dynamic"}}).json()

    now = datetime.now(UTC)
    for kept in (model, data):
        assert timedelta(minutes=50) < datetime.fromisoformat(kept["expires_at"]) - now < timedelta(hours=1)
    assert datetime.fromisoformat(job["expires_at"]) - now < timedelta(minutes=1)


def test_a_purged_job_is_gone_and_leaves_an_entry(
    api: httpx.Client, job: str, worker: Worker, database: Database, tmp_path: Path
) -> None:
    assert problem(api.delete(f"jobs/{job}")) == (409, "job_unfinished")
    assert api.delete(f"jobs/{job}").json()["state"] == "queued"
    (tmp_path / "model.pt").write_bytes(b"int8")
    worker.start(job)
    worker.succeed(job, REPORT, tmp_path / "model.pt")
    [artifact] = api.get(f"jobs/{job}/artifacts").json()

    assert api.delete(f"jobs/{job}").status_code == 204

    for gone in (f"jobs/{job}", f"jobs/{job}/report", f"jobs/{job}/events", f"artifacts/{artifact['id']}/content"):
        assert problem(api.get(gone)) == (404, "not_found")
    assert problem(api.delete(f"jobs/{job}")) == (404, "not_found")
    assert ("job.purge", job) in _entries(database)


def test_a_purged_model_takes_its_jobs_with_it(
    api: httpx.Client, model: str, job: str, worker: Worker, database: Database
) -> None:
    assert problem(api.delete(f"models/{model}", params={"purge": True})) == (409, "in_use")
    worker.start(job)
    worker.succeed(job, REPORT)

    assert api.delete(f"models/{model}", params={"purge": True}).status_code == 204

    assert problem(api.get(f"jobs/{job}")) == (404, "not_found")
    assert problem(api.get(f"models/{model}")) == (404, "not_found")
    assert {("job.purge", job), ("model.purge", model)} <= _entries(database)


def _entries(database: Database) -> set[tuple[str, str | None]]:
    with database.begin() as session:
        return {(entry.action, entry.subject_id) for entry in session.scalars(select(AuditEntry))}


def _limit(database: Database, max_bytes: int) -> None:
    with database.begin() as session:
        session.execute(update(ApiKey).values(max_stored_bytes=max_bytes))


def _all(caller: socket.socket) -> bytes:
    """What comes until the service closes the connection."""
    received = b""
    with suppress(ConnectionResetError):  # what the service left unread
        while data := caller.recv(65536):
            received += data
    return received


def _job_head(key: str) -> bytes:
    lines = ["POST /v1/jobs HTTP/1.1", "Host: octet", f"Authorization: Bearer {key}", "Content-Length: 1000"]
    return "\r\n".join([*lines, "", ""]).encode()

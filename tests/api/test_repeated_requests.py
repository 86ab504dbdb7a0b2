"""POSTs that are repeated with the same Idempotency-Key, over a real port."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from asking import connection, problem, until
from serving import serve_in_a_process
from sqlalchemy import delete, func, select, text, update

from store import keys
from store.tables import IdempotencyRecord, Job, Model

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    import httpx

    from store.database import Database
    from store.settings import Settings

KEY = {"Idempotency-Key": "one"}
REPLAYED = "idempotent-replayed"


@pytest.fixture
def body(model: str) -> dict[str, object]:
    return {"model": model, "recipe": {"method": "dynamic"}}


@pytest.fixture
def half_an_upload(url: str, key: str, model_file: bytes) -> Iterator[Callable[..., socket.socket]]:
    """Sends half of a model, under the idempotency key."""
    opened: list[socket.socket] = []

    def send(to: str = url) -> socket.socket:
        opened.append(connection(to))
        lines = ["POST /v1/models HTTP/1.1", "Host: octet", f"Authorization: Bearer {key}", "Idempotency-Key: one"]
        head = "\r\n".join([*lines, f"Content-Length: {len(model_file)}", "", ""]).encode()
        opened[-1].sendall(head + model_file[: len(model_file) // 2])
        return opened[-1]

    yield send
    for each in opened:
        each.close()


@pytest.fixture
def full_disk(database: Database) -> Iterator[None]:
    """Postgres has no room for what is to be remembered of requests."""
    with database.begin() as session:
        body = "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$"
        session.execute(text(f"CREATE FUNCTION fill() {body}"))
        on = "BEFORE INSERT ON idempotency_records FOR EACH ROW"
        session.execute(text(f"CREATE TRIGGER fill {on} EXECUTE FUNCTION fill()"))
    yield
    with database.begin() as session:
        session.execute(text("DROP FUNCTION fill CASCADE"))


def records(database: Database) -> list[IdempotencyRecord]:
    with database.begin() as session:
        return list(session.scalars(select(IdempotencyRecord)))


def count(database: Database, table: type[Job | Model]) -> int:
    with database.begin() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def same(first: httpx.Response, second: httpx.Response) -> bool:
    """Whether the second is the first again, and says so."""
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    mine = {"x-request-id", "date", REPLAYED, "server"}
    ratelimit = {name for name in first.headers if name.startswith("ratelimit")}
    heads = [
        {name: value for name, value in answer.headers.items() if name not in mine | ratelimit}
        for answer in (first, second)
    ]
    return (first.status_code, heads[0], first.content) == (second.status_code, heads[1], second.content)


def test_a_submission_is_answered_as_the_first_time(
    api: httpx.Client, body: dict[str, object], database: Database
) -> None:
    first = api.post("jobs", json=body, headers=KEY)
    api.post(f"jobs/{first.json()['id']}/cancel")
    second = api.post("jobs", json=body, headers=KEY)
    assert (first.status_code, second.json()["state"]) == (202, "queued")
    assert same(first, second)
    assert count(database, Job) == 1


def test_an_upload_is_answered_as_the_first_time(api: httpx.Client, model_file: bytes, database: Database) -> None:
    first, second = (api.post("models", content=model_file, headers=KEY) for _ in range(2))
    assert first.status_code == 201
    assert same(first, second)
    assert len(records(database)[0].body) < 2000


def test_an_upload_in_parts_is_begun_once(api: httpx.Client) -> None:
    begin = {**KEY, "Tus-Resumable": "1.0.0", "Upload-Metadata": "kind bW9kZWw="}
    first, second = (api.post("uploads", headers={**begin, "Upload-Length": "1000"}) for _ in range(2))
    assert first.status_code == 201
    assert same(first, second)
    assert problem(api.post("uploads", headers={**begin, "Upload-Length": "2000"})) == (422, "idempotency_mismatch")


def test_a_refusal_is_answered_as_the_first_time(api: httpx.Client, body: dict[str, object]) -> None:
    wrong = {**body, "recipe": {"method": "static"}}
    first, second = (api.post("jobs", json=wrong, headers=KEY) for _ in range(2))
    assert problem(first)[0] == 422
    assert same(first, second)


def test_a_cancellation_is_answered_as_the_first_time(api: httpx.Client, job: str) -> None:
    first, second = (api.post(f"jobs/{job}/cancel", headers=KEY) for _ in range(2))
    assert first.status_code == 202
    assert same(first, second)


def test_a_webhook_is_made_once_and_its_secret_is_not_kept(api: httpx.Client, database: Database) -> None:
    asked = {"url": "https://93.184.216.34/hook"}
    first, second = (api.post("webhooks", json=asked, headers=KEY) for _ in range(2))
    assert (first.status_code, first.json()) == (201, second.json())
    assert first.json()["secret"].startswith("whsec_")
    assert records(database) == []
    other = api.post("webhooks", json={"url": "https://93.184.216.34/other"}, headers=KEY)
    assert problem(other) == (422, "idempotency_mismatch")


def test_another_body_or_address_under_the_same_key_is_refused(
    api: httpx.Client, body: dict[str, object], database: Database
) -> None:
    job = api.post("jobs", json=body, headers=KEY).json()["id"]
    for other in (
        api.post("jobs", json={**body, "name": "another"}, headers=KEY),
        api.post("jobs", json=body, params={"validate_only": "true"}, headers=KEY),
        api.post(f"jobs/{job}/cancel", headers=KEY),
        api.post("datasets", content=b"x" * 500_000, headers=KEY),
    ):
        assert problem(other) == (422, "idempotency_mismatch")
    assert count(database, Job) == 1
    assert api.get(f"jobs/{job}").json()["state"] == "queued"


@pytest.mark.usefixtures("full_disk")
def test_a_disk_without_room_for_the_answer_is_told(api: httpx.Client, body: dict[str, object]) -> None:
    assert problem(api.post("jobs", json=body, headers=KEY)) == (507, "storage_full")
    assert api.post("jobs", json=body).status_code == 202


def test_another_api_key_has_idempotency_keys_of_its_own(
    api: httpx.Client, body: dict[str, object], database: Database
) -> None:
    first = api.post("jobs", json=body, headers=KEY)
    with database.begin() as session:
        _, other = keys.create(session, "other")
    second = api.post("jobs", json=body, headers={**KEY, "Authorization": f"Bearer {other}"})
    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("sent", ["", "k" * 256])
def test_a_key_that_is_empty_or_too_long_is_refused(api: httpx.Client, body: dict[str, object], sent: str) -> None:
    answer = api.post("jobs", json=body, headers={"Idempotency-Key": sent})
    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["parameter"] == "Idempotency-Key"


def test_a_request_without_a_valid_api_key_leaves_nothing(
    api: httpx.Client, body: dict[str, object], database: Database
) -> None:
    answer = api.post("jobs", json=body, headers={**KEY, "Authorization": "Bearer octet_wrong"})
    assert answer.status_code == 401
    assert records(database) == []


def test_a_repetition_is_told_to_wait_while_the_first_is_being_answered(
    api: httpx.Client, model_file: bytes, database: Database, half_an_upload: Callable[..., socket.socket]
) -> None:
    first = half_an_upload()
    until(lambda: bool(records(database)))
    second = api.post("models", content=model_file, headers=KEY)
    assert problem(second) == (409, "idempotency_in_progress")
    assert second.headers["retry-after"] == "1"
    first.sendall(model_file[len(model_file) // 2 :])
    assert first.recv(65536).startswith(b"HTTP/1.1 201")
    third = api.post("models", content=model_file, headers=KEY)
    assert (third.status_code, third.headers[REPLAYED]) == (201, "true")


def test_many_at_the_same_moment_queue_one_job(api: httpx.Client, body: dict[str, object], database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.post("jobs", json=body, headers=KEY), range(8)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert count(database, Job) == 1


def test_a_request_that_broke_off_can_be_repeated(
    api: httpx.Client, model_file: bytes, database: Database, half_an_upload: Callable[..., socket.socket]
) -> None:
    first = half_an_upload()
    until(lambda: bool(records(database)))
    first.close()
    until(lambda: not records(database))
    second = api.post("models", content=model_file, headers=KEY)
    assert second.status_code == 201
    assert REPLAYED not in second.headers


def test_a_request_whose_api_was_killed_can_be_repeated(
    api: httpx.Client,
    model_file: bytes,
    database: Database,
    settings: Settings,
    half_an_upload: Callable[..., socket.socket],
) -> None:
    with serve_in_a_process(settings) as (other, process):
        half_an_upload(other)
        until(lambda: bool(records(database)))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert api.post("models", content=model_file, headers=KEY).status_code == 409  # for all anybody knows it still runs
    with database.begin() as session:  # as if a few seconds had passed
        session.execute(update(IdempotencyRecord).values(seen_at=func.now() - timedelta(seconds=6)))
    assert api.post("models", content=model_file, headers=KEY).status_code == 201
    assert count(database, Model) == 1


def test_an_api_that_is_killed_between_commit_and_answer_has_queued_one_job(
    api: httpx.Client, body: dict[str, object], database: Database
) -> None:
    first = api.post("jobs", json=body, headers=KEY).json()["id"]
    with database.begin() as session:  # the record never got its answer, and was given up
        session.execute(delete(IdempotencyRecord))
    assert api.post("jobs", json=body, headers=KEY).json()["id"] == first
    changed = api.post("jobs", content=json.dumps({**body, "name": "x"}), headers={"Idempotency-Key": "one"})
    assert problem(changed) == (422, "idempotency_mismatch")
    assert count(database, Job) == 1


def test_a_key_is_kept_apart_from_what_follows_on_the_same_connection(
    url: str, key: str, body: dict[str, object], database: Database
) -> None:
    """A replay reads the body of its request, or the next request would begin in the middle of it."""
    content = json.dumps(body).encode()
    lines = ["POST /v1/jobs HTTP/1.1", "Host: octet", f"Authorization: Bearer {key}", "Content-Type: application/json"]
    head = "\r\n".join([*lines, "Idempotency-Key: one", f"Content-Length: {len(content)}", "", ""]).encode()
    with closing(connection(url)) as line:
        answers = []
        for _ in range(3):
            line.sendall(head + content)
            answers.append(line.recv(65536))
    assert all(answer.startswith(b"HTTP/1.1 202") for answer in answers)
    assert [b"idempotent-replayed: true" in answer.lower() for answer in answers] == [False, True, True]
    assert count(database, Job) == 1

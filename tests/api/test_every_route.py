"""Every route of the app, as somebody asks who must not: with another owner's ids, without a key, with too small a key.

A route without a row in the table below fails the first test, so that none can be forgotten.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest
from asking import problem
from example_report import REPORT
from fastapi.routing import iter_route_contexts
from resuming import TUS, begin, metadata

from api.app import create_app
from api.doors.origin import SAFE
from store import audit, keys, webhooks
from store.tables import FIRST_OWNER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from asking import Worker

    from store.database import Database
    from store.settings import Settings


class Row(NamedTuple):
    """How a route is asked, and what another owner is told."""

    kind: str
    request: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple's default is never changed


# It names something by an id: as if that had never been.
ITEM = Row("item")
# It lists: nothing is in it, and nothing of others can be listed after.
LIST = Row("list")
# It says nothing of anybody's.
SAME_FOR_ALL = Row("same for all")
# It takes something in, which is then theirs: tests of its own, below.
TAKES_IN = Row("takes in")
# It shows everything, to operators.
ADMIN = Row("admin")
# It needs no key.
PUBLIC = Row("public")
# It is about the caller alone.
OWN = Row("own")

PART = {**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
TUS_ITEM = Row("item", {"headers": TUS})

ROUTES = {
    "GET /": PUBLIC,
    "HEAD /": PUBLIC,
    "GET /v1/openapi.json": PUBLIC,
    "HEAD /v1/openapi.json": PUBLIC,
    "GET /v1/health/live": PUBLIC,
    "HEAD /v1/health/live": PUBLIC,
    "GET /v1/health/ready": PUBLIC,
    "HEAD /v1/health/ready": PUBLIC,
    "POST /v1/session": PUBLIC,
    "GET /v1/session": OWN,
    "DELETE /v1/session": OWN,
    "GET /v1/key": OWN,
    "GET /v1/audit": ADMIN,
    "GET /v1/metrics": ADMIN,
    "GET /v1/recipes": SAME_FOR_ALL,
    "GET /v1/recipes/schema": SAME_FOR_ALL,
    "GET /v1/engines": SAME_FOR_ALL,
    "GET /v1/workers": SAME_FOR_ALL,
    "OPTIONS /v1/uploads": SAME_FOR_ALL,
    "POST /v1/models": TAKES_IN,
    "GET /v1/models": LIST,
    "GET /v1/models/{model_id}": ITEM,
    "GET /v1/models/{model_id}/layers": ITEM,
    "GET /v1/models/{model_id}/content": ITEM,
    "HEAD /v1/models/{model_id}/content": ITEM,
    "DELETE /v1/models/{model_id}": ITEM,
    "POST /v1/datasets": TAKES_IN,
    "GET /v1/datasets": LIST,
    "GET /v1/datasets/{dataset_id}": ITEM,
    "GET /v1/datasets/{dataset_id}/content": ITEM,
    "HEAD /v1/datasets/{dataset_id}/content": ITEM,
    "DELETE /v1/datasets/{dataset_id}": ITEM,
    "POST /v1/uploads": TAKES_IN,
    "GET /v1/uploads/{upload_id}": ITEM,
    "HEAD /v1/uploads/{upload_id}": TUS_ITEM,
    "PATCH /v1/uploads/{upload_id}": Row("item", {"headers": PART, "content": b"bytes"}),
    "DELETE /v1/uploads/{upload_id}": TUS_ITEM,
    "POST /v1/jobs": TAKES_IN,
    "GET /v1/jobs": LIST,
    "GET /v1/jobs/{job_id}": ITEM,
    "DELETE /v1/jobs/{job_id}": ITEM,
    "POST /v1/jobs/{job_id}/cancel": ITEM,
    "GET /v1/jobs/{job_id}/events": ITEM,
    "GET /v1/jobs/{job_id}/report": ITEM,
    "GET /v1/jobs/{job_id}/artifacts": ITEM,
    "GET /v1/artifacts/{artifact_id}": ITEM,
    "GET /v1/artifacts/{artifact_id}/content": ITEM,
    "HEAD /v1/artifacts/{artifact_id}/content": ITEM,
    "POST /v1/webhooks": TAKES_IN,
    "GET /v1/webhooks": LIST,
    "GET /v1/webhooks/{webhook_id}": ITEM,
    "DELETE /v1/webhooks/{webhook_id}": ITEM,
    "GET /v1/webhooks/{webhook_id}/deliveries": ITEM,
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/retry": ITEM,
}


def routes(kind: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and the rest of a request, of each route of a kind."""
    return [(*route.split(), row.request) for route, row in ROUTES.items() if row.kind == kind]


@pytest.fixture
def as_key(url: str, database: Database) -> Iterator[Callable[..., httpx.Client]]:
    """Makes a caller with a key of its own."""
    callers: list[httpx.Client] = []

    def make(**given: Any) -> httpx.Client:
        with database.begin() as session:
            _, plaintext = keys.create(session, "another", **given)
        callers.append(
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {plaintext}"}, trust_env=False, timeout=60)
        )
        return callers[-1]

    yield make
    for caller in callers:
        caller.close()


@pytest.fixture
def stranger(as_key: Callable[..., httpx.Client]) -> httpx.Client:
    """Another owner, who may do everything to what is theirs."""
    return as_key(owner="another", scopes=keys.SCOPES)


@pytest.fixture
def ids(
    *, api: httpx.Client, model: str, data: str, job: str, worker: Worker, database: Database, tmp_path: Path
) -> dict[str, str]:
    """Something of everything, of the usual owner, by the name that routes have for its id."""
    with database.begin() as session:
        hook = webhooks.create(
            session,
            audit.SERVICE,
            owner_id=UUID(FIRST_OWNER),
            url="https://example.com/",
            events=["job.succeeded"],
            idempotency_key=None,
        )
    (tmp_path / "model.pt").write_bytes(b"int8")
    worker.start(job)
    worker.succeed(job, REPORT, tmp_path / "model.pt")
    return {
        "model_id": model,
        "dataset_id": data,
        "job_id": job,
        "artifact_id": api.get(f"jobs/{job}/artifacts").json()[0]["id"],
        "upload_id": begin(api, 1000).removeprefix("uploads/"),
        "webhook_id": str(hook.id),
        "delivery_id": api.get(f"webhooks/{hook.id}/deliveries").json()["data"][0]["id"],
    }


def test_every_route_has_a_row(settings: Settings) -> None:
    found = iter_route_contexts(create_app(settings).routes)

    assert {f"{method} {route.path}" for route in found for method in route.methods or ()} == ROUTES.keys()


def test_what_belongs_to_another_owner_is_as_if_it_had_never_been(
    stranger: httpx.Client, api: httpx.Client, ids: dict[str, str]
) -> None:
    unknown = {name: str(uuid4()) for name in ids}
    for method, path, request in routes("item"):
        (named,) = re.findall(r"{(\w+)}[^{]*$", path)
        told = []
        for asked in (ids, unknown):
            answer = stranger.request(method, path.format_map(asked), **request)
            assert answer.status_code == 404, (method, path)
            ignoring = re.compile("|".join(asked.values()))
            told.append((answer.headers["content-length"], ignoring.sub("", answer.text)))
        assert told[0] == told[1], (method, path, named)

    # Nothing came of it, and its owner has it still.
    for name, address in (
        ("model_id", "models"),
        ("dataset_id", "datasets"),
        ("job_id", "jobs"),
        ("webhook_id", "webhooks"),
    ):
        assert api.get(f"{address}/{ids[name]}").status_code == 200
    assert api.get(f"uploads/{ids['upload_id']}").json()["received"] == 0


def test_lists_hold_nothing_of_another_owners_and_cannot_be_entered_there(
    stranger: httpx.Client, api: httpx.Client, ids: dict[str, str]
) -> None:
    for method, path, _ in routes("list"):
        name = path.removeprefix("/v1/").removesuffix("s")
        theirs = ids[f"{name}_id"]
        assert api.get(path.removeprefix("/v1/")).json()["data"], path
        assert stranger.request(method, path).json()["data"] == [], path
        assert problem(stranger.request(method, path, params={"after": theirs})) == (404, "not_found"), path


def test_a_job_cannot_be_given_what_belongs_to_another_owner(
    stranger: httpx.Client, ids: dict[str, str], model_file: bytes
) -> None:
    own = stranger.post("/v1/models", content=model_file).json()["id"]
    recipe = {"method": "static"}
    for field, body in {
        "model": {"model": ids["model_id"], "recipe": recipe},
        "calibration": {"model": own, "recipe": recipe, "calibration": ids["dataset_id"]},
        "evaluation": {"model": own, "recipe": recipe, "evaluation": ids["dataset_id"]},
    }.items():
        for params in ({}, {"validate_only": "true"}):
            answer = stranger.post("/v1/jobs", json=body, params=params)
            assert problem(answer) == (404, "not_found"), field
            assert answer.json()["errors"][0]["pointer"] == f"/{field}"


def test_the_same_bytes_of_two_owners_are_each_their_own(
    stranger: httpx.Client, ids: dict[str, str], model_file: bytes, data_file: bytes
) -> None:
    for kind, content in (("model", model_file), ("dataset", data_file)):
        answer = stranger.post(f"/v1/{kind}s", content=content)
        assert answer.status_code == 201
        assert answer.json()["id"] != ids[f"{kind}_id"]
        assert stranger.post(f"/v1/{kind}s", content=content).status_code == 200
        assert stranger.delete(f"/v1/{kind}s/{answer.json()['id']}").status_code == 204


@pytest.mark.usefixtures("ids")
def test_the_result_of_another_owners_job_is_not_reused(
    stranger: httpx.Client, api: httpx.Client, model_file: bytes
) -> None:
    own = stranger.post("/v1/models", content=model_file).json()["id"]
    body = {"recipe": {"method": "dynamic"}, "reuse": True}

    assert stranger.post("/v1/jobs", json={"model": own, **body}).status_code == 202
    assert api.post("jobs", json={"model": api.get("models").json()["data"][0]["id"], **body}).status_code == 200


def test_what_all_may_see_tells_nothing_of_anybody(
    stranger: httpx.Client, api: httpx.Client, ids: dict[str, str], model: str, worker: Worker
) -> None:
    running, queued = (
        api.post("jobs", json={"model": model, "recipe": {"method": "dynamic"}}).json()["id"] for _ in "12"
    )
    worker.start(running)
    for method, path, _ in [*routes("same for all"), *routes("own")]:
        answer = stranger.request(method, path)
        assert answer.is_success, path
        assert not [theirs for theirs in (*ids.values(), running, queued) if theirs in answer.text], path
    assert running in api.get("workers").text
    own = stranger.post("/v1/models", content=(api.get(f"models/{model}/content")).content).json()["id"]
    job = stranger.post("/v1/jobs", json={"model": own, "recipe": {"method": "dynamic"}}).json()
    (listed,) = stranger.get("/v1/jobs").json()["data"]
    for shown in (job, listed, stranger.get(f"/v1/jobs/{job['id']}").json()):
        assert shown["queue_position"] == 0


def test_only_what_needs_no_key_can_be_had_without_one(url: str, ids: dict[str, str]) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as nobody:
        for route, row in ROUTES.items():
            method, path = route.split()
            answer = nobody.request(method, path.format_map(ids), **row.request)
            if row is PUBLIC:
                assert answer.status_code in {200, 422, 503}, route
            else:
                assert answer.status_code == 401, route
                assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_can_do_what_its_scopes_are_for_and_no_more(
    as_key: Callable[..., httpx.Client], ids: dict[str, str]
) -> None:
    reader, sender = as_key(scopes=["read"]), as_key(scopes=["submit"])
    for route, row in ROUTES.items():
        if row is PUBLIC or row is OWN:
            continue
        method, path = route.split()
        caller, other = (sender, reader) if method in SAFE else (reader, sender)
        refused = caller.request(method, path.format_map(ids), **row.request)
        assert refused.status_code == 403, route
        assert method == "HEAD" or problem(refused) == (403, "insufficient_scope"), route
        if method in SAFE:
            let_in = other.request(method, path.format_map(ids), **row.request)
            assert let_in.status_code == (403 if row is ADMIN else let_in.status_code), route
            assert row is ADMIN or let_in.is_success, (route, let_in.text)


def test_a_small_key_begins_nothing(as_key: Callable[..., httpx.Client], data_file: bytes, api: httpx.Client) -> None:
    reader = as_key(scopes=["read"])
    said = {**TUS, "Upload-Length": "10", "Upload-Metadata": metadata(kind="model")}

    assert problem(reader.post("/v1/uploads", headers=said)) == (403, "insufficient_scope")
    assert problem(reader.post("/v1/datasets", content=data_file)) == (403, "insufficient_scope")
    assert api.get("datasets").json()["data"] == []

"""Who may call, and what every answer carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from asking import problem

from store import keys

if TYPE_CHECKING:
    from store.database import Database


@pytest.mark.parametrize("value", ["Bearer wrong", "Basic dXNlcjpwYXNz", "Bearer", "Bearer caf\u00e9"])
def test_a_bad_key_is_refused(value: str, url: str, database: Database) -> None:  # noqa: ARG001 - empty tables
    headers = {"Authorization": value.encode()}

    assert problem(httpx.get(f"{url}/v1/jobs", headers=headers, trust_env=False)) == (401, "unauthorized")


def test_a_revoked_key_is_refused(api: httpx.Client, database: Database) -> None:
    assert api.get("engines").status_code == 200

    with database.begin() as session:
        keys.revoke(session, str(keys.list_keys(session)[0][0].id))
    assert problem(api.get("engines")) == (401, "unauthorized")


def test_an_address_that_is_none_is_not_found(api: httpx.Client) -> None:
    assert problem(api.get("nothing")) == (404, "not_found")


def test_a_method_that_is_not_taken_is_refused(api: httpx.Client) -> None:
    answer = api.put("models")

    assert problem(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"
    assert api.put(api.base_url.join("/static/page.css")).headers["allow"] == "GET, HEAD"


def test_every_answer_has_the_callers_request_id_or_a_new_one(api: httpx.Client) -> None:
    assert api.get("engines", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert len(api.get("engines", headers={"X-Request-Id": "not fit for a log"}).headers["x-request-id"]) == 32
    assert api.get("nothing").headers["x-request-id"] != api.get("nothing").headers["x-request-id"]


def test_every_answer_tells_browsers_to_be_careful(url: str) -> None:
    for path in ("/", "/static/page.css", "/v1/jobs"):
        headers = httpx.get(url + path, trust_env=False).headers
        assert "'unsafe-inline'" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"

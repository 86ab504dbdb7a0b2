from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from asking import problem
from sqlalchemy import func, update

from store import outbox
from store.tables import WebhookDelivery

if TYPE_CHECKING:
    import httpx

    from store.database import Database

URL = "https://93.184.216.34/hook"


@pytest.fixture
def webhook(api: httpx.Client) -> str:
    """Id of a webhook."""
    return str(api.post("webhooks", json={"url": URL}).json()["id"])


def end_a_job(api: httpx.Client, model: str) -> str:
    job: str = api.post("jobs", json={"model": model, "recipe": {"method": "dynamic"}}).json()["id"]
    api.post(f"jobs/{job}/cancel")
    return job


def test_a_webhook_is_made_and_its_secret_shown_once(api: httpx.Client) -> None:
    made = api.post("webhooks", json={"url": URL})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    webhook = made.json()
    assert webhook["secret"].startswith("whsec_")
    assert webhook["events"] == ["job.succeeded", "job.failed", "job.cancelled"]
    assert made.headers["location"] == f"/v1/webhooks/{webhook['id']}"
    shown = {**webhook, "secret": None}
    assert api.get(f"webhooks/{webhook['id']}").json() == shown
    assert api.get("webhooks").json()["data"] == [shown]


@pytest.mark.parametrize(
    "given",
    [
        "http://localhost:8000/v1/jobs",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "https://user:password@example.com/",
        "ftp://93.184.216.34/",
        "nothing",
    ],
)
def test_an_address_that_only_the_service_can_reach_is_refused(api: httpx.Client, given: str) -> None:
    assert problem(api.post("webhooks", json={"url": given})) == (422, "invalid_webhook")
    assert api.get("webhooks").json()["data"] == []


@pytest.mark.parametrize("wrong", [{}, {"url": URL, "events": []}, {"url": URL, "events": ["job.queued"]}, {"url": 1}])
def test_what_asks_for_no_webhook_is_refused(api: httpx.Client, wrong: dict[str, object]) -> None:
    assert problem(api.post("webhooks", json=wrong)) == (422, "invalid_request")


def test_its_messages_are_listed_newest_first_and_by_pages(api: httpx.Client, webhook: str, model: str) -> None:
    ended = [end_a_job(api, model) for _ in range(3)]
    first = api.get(f"webhooks/{webhook}/deliveries", params={"limit": 2}).json()
    assert [message["job"] for message in first["data"]] == ended[:0:-1]
    assert first["has_more"]
    rest = api.get(f"webhooks/{webhook}/deliveries", params={"after": first["next"]}).json()
    assert [message["job"] for message in rest["data"]] == ended[:1]
    assert {message["event"] for message in first["data"]} == {"job.cancelled"}
    assert "payload" not in first["data"][0]


def test_a_message_can_be_sent_again(api: httpx.Client, webhook: str, model: str, database: Database) -> None:
    end_a_job(api, model)
    with database.begin() as session:
        [message] = outbox.take(session, busy=(), limit=1)
        outbox.delivered(session, message, 200)
    again = api.post(f"webhooks/{webhook}/deliveries/{message.id}/retry")
    assert again.status_code == 202
    assert again.json()["next_at"] is not None
    assert problem(api.post(f"webhooks/{webhook}/deliveries/{uuid4()}/retry")) == (404, "not_found")


def test_a_deleted_webhook_is_gone_with_its_messages(api: httpx.Client, webhook: str, model: str) -> None:
    end_a_job(api, model)
    assert api.delete(f"webhooks/{webhook}").status_code == 204
    for path in (f"webhooks/{webhook}", f"webhooks/{webhook}/deliveries"):
        assert problem(api.get(path)) == (404, "not_found")
    assert problem(api.delete(f"webhooks/{webhook}")) == (404, "not_found")


def test_a_disabled_webhook_says_since_when(api: httpx.Client, webhook: str, model: str, database: Database) -> None:
    end_a_job(api, model)
    with database.begin() as session:
        session.execute(update(WebhookDelivery).values(next_at=func.now() - timedelta(seconds=1)))
        [message] = outbox.take(session, busy=(), limit=1)
        outbox.gone(session, message, 410)
    assert api.get(f"webhooks/{webhook}").json()["disabled_at"] is not None
    retry = api.post(f"webhooks/{webhook}/deliveries/{message.id}/retry")
    assert problem(retry) == (409, "conflict")


def test_every_post_with_a_key_says_that_it_may_be_repeated(api: httpx.Client) -> None:
    document = api.get("openapi.json").json()
    posts = [path["post"] for path in document["paths"].values() if "security" in path.get("post", {})]
    assert len(posts) >= 6
    for post in posts:
        names = [parameter["name"] for parameter in post["parameters"]]
        assert names.count("Idempotency-Key") == 1
        assert "idempotency_in_progress" in post["responses"]["409"]["description"]
        assert "idempotency_mismatch" in post["responses"]["422"]["description"]


def test_the_document_describes_the_message(api: httpx.Client) -> None:
    document = api.get("openapi.json").json()
    body = document["webhooks"]["job-ended"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/JobEnded"}
    assert "JobEnded" in document["components"]["schemas"]

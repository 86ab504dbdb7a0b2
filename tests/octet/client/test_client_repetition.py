from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from octet.client import Client, ServiceError
from octet.recipe import Recipe
from store import idempotency
from store.tables import ApiKey

if TYPE_CHECKING:
    from pathlib import Path

    from live_service import LiveService

    from octet.report import Report
    from store.idempotency import Claim

DYNAMIC = Recipe(method="dynamic")


def under_way(service: LiveService) -> Claim:
    """As if a first request with the key were still being answered."""
    with service.database.begin() as session:
        key_id = session.scalars(select(ApiKey.id)).one()
        claim = idempotency.claim(session, key_id, "k", keep_seconds=60)
    assert isinstance(claim, idempotency.Claim)
    return claim


def test_a_first_request_that_is_still_being_answered_is_waited_for(service: LiveService, tiny_model: Path) -> None:
    with Client(service.url, service.key) as client, ThreadPoolExecutor(1) as pool:
        model = client.upload_model(tiny_model)
        claim = under_way(service)
        submitted = pool.submit(client.submit, model, DYNAMIC, idempotency_key="k")
        with pytest.raises(TimeoutError):
            submitted.result(0.3)
        with service.database.begin() as session:
            idempotency.forget(session, claim)
        assert submitted.result(30).refresh().state == "queued"


def test_patience_with_a_first_request_has_an_end(service: LiveService, tiny_model: Path) -> None:
    with Client(service.url, service.key, patience=0) as client:
        model = client.upload_model(tiny_model)
        under_way(service)
        with pytest.raises(ServiceError) as caught:
            client.submit(model, DYNAMIC, idempotency_key="k")
    assert (caught.value.status, caught.value.code) == (409, "idempotency_in_progress")


def test_a_result_that_is_there_is_reused_when_asked_for(
    service: LiveService, client: Client, tiny_model: Path, report: Report
) -> None:
    model = client.upload_model(tiny_model)
    done = client.submit(model, DYNAMIC, reuse=True)
    service.succeed(done.id, report)
    again = client.submit(model, DYNAMIC, name="another", reuse=True)
    assert again.id == done.id
    assert again.wait(timeout=5).state == "succeeded"
    assert client.submit(model, DYNAMIC).id != done.id


def test_webhooks_are_made_listed_and_deleted(client: Client) -> None:
    webhook = client.create_webhook("https://93.184.216.34/hook", ["job.failed"])
    assert webhook.secret is not None
    assert (webhook.events, webhook.disabled_at) == (["job.failed"], None)
    assert list(client.webhooks()) == [webhook.model_copy(update={"secret": None})]
    assert list(client.webhook_deliveries(webhook)) == []
    client.delete_webhook(webhook)
    assert list(client.webhooks()) == []


def test_a_webhook_is_told_of_every_end_unless_asked_otherwise(client: Client, tiny_model: Path) -> None:
    webhook = client.create_webhook("https://93.184.216.34/hook")
    job = client.submit(client.upload_model(tiny_model), DYNAMIC)
    job.cancel()
    [message] = client.webhook_deliveries(webhook)
    assert (message.job, message.event, message.attempts) == (job.id, "job.cancelled", 0)

"""Webhooks: addresses that are told when jobs end."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response
from starlette.concurrency import run_in_threadpool

from api import present, problems
from api.doors import Caller
from api.routes.lists import After, Limit
from api.service import Parts, Transaction
from octet import wire
from store import tables, webhooks
from store.destinations import resolve

router = APIRouter(prefix="/webhooks", tags=["webhooks"])
messages = APIRouter()
"""What this service sends, for the document alone."""

_NOT_FOUND = problems.documented("not_found")


@router.post(
    "",
    status_code=201,
    summary="Make a webhook",
    responses=problems.documented("invalid_request", "invalid_webhook", "conflict"),
)
async def create_webhook(
    asked: wire.WebhookCreate,
    caller: Caller,
    service: Parts,
    response: Response,
    idempotency_key: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> wire.Webhook:
    """Have an address told when a job of yours ends: by a POST, signed as Standard Webhooks 1.0 has it.

    Answer with any 2xx within 15 seconds; otherwise the message comes again, ten times within three days, under the
    same `webhook-id`. 410 disables the webhook, and so do three days without a message that arrived. The secret that
    signatures are made with is shown in this answer alone.
    """
    await resolve(asked.url, service.settings.webhook_networks)

    def create() -> tables.Webhook:
        with service.database.begin() as session:
            return webhooks.create(
                session,
                caller.actor,
                owner_id=caller.owner_id,
                url=asked.url,
                events=asked.events,
                idempotency_key=idempotency_key,
            )

    row = await run_in_threadpool(create)
    response.headers.update({"Location": f"/v1/webhooks/{row.id}", "Cache-Control": "no-store"})
    return present.webhook(row, secret=row.secret)


@router.get("", summary="List webhooks", responses=_NOT_FOUND)
def list_webhooks(
    session: Transaction, caller: Caller, limit: Limit = 20, after: After = None
) -> wire.Page[wire.Webhook]:
    """Newest first."""
    rows = webhooks.list_page(session, owner_id=caller.owner_id, limit=limit, after=after)
    return present.page(rows, present.webhook)


@router.get("/{webhook_id}", summary="Get a webhook", responses=_NOT_FOUND)
def get_webhook(webhook_id: UUID, session: Transaction, caller: Caller) -> wire.Webhook:
    """Where it leads, and whether it is still told."""
    return present.webhook(webhooks.get(session, webhook_id, owner_id=caller.owner_id))


@router.delete("/{webhook_id}", status_code=204, summary="Delete a webhook", responses=_NOT_FOUND)
def delete_webhook(webhook_id: UUID, session: Transaction, caller: Caller) -> None:
    """It is told nothing more, not even what is on its way."""
    webhooks.delete_webhook(session, caller.actor, webhook_id, owner_id=caller.owner_id)


@router.get("/{webhook_id}/deliveries", summary="List a webhook's messages", responses=_NOT_FOUND)
def list_deliveries(
    webhook_id: UUID, session: Transaction, caller: Caller, limit: Limit = 20, after: After = None
) -> wire.Page[wire.WebhookDelivery]:
    """What it was told, and is yet to be told, newest first. Messages that are over stay for 30 days."""
    rows = webhooks.list_deliveries(session, webhook_id, owner_id=caller.owner_id, limit=limit, after=after)
    return present.page(rows, present.delivery)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/retry",
    status_code=202,
    summary="Send a message again",
    responses=problems.documented("not_found", "conflict"),
)
def retry_delivery(webhook_id: UUID, delivery_id: UUID, session: Transaction, caller: Caller) -> wire.WebhookDelivery:
    """Now, whether it waits for its next attempt, was given up or has arrived."""
    return present.delivery(webhooks.send_again(session, webhook_id, delivery_id, owner_id=caller.owner_id))


@messages.post(
    "job-ended",
    summary="A job has ended",
    status_code=204,
    responses={"default": {"description": "Anything but 2xx: the message comes again."}},
)
def job_ended(message: wire.JobEnded) -> None:
    """Sent to every webhook that asked for it.

    The headers `webhook-id`, `webhook-timestamp` and `webhook-signature` are those of Standard Webhooks 1.0: check them
    with one of its libraries, and pass over an id that has come before.
    """

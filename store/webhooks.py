"""Webhooks: whom to tell when a job ends, and what.

A message is written in the transaction that ends its job, so there is one for every end and none for anything else.
`store.outbox` has what becomes of it.
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING
from uuid import UUID, uuid4, uuid5

from sqlalchemy import func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from octet import wire
from store import audit, owners, paging
from store.errors import ConflictError, IdempotencyMismatchError, NotFoundError
from store.tables import Webhook, WebhookDelivery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from store.audit import Actor
    from store.tables import Job

MAX_PER_OWNER = 10
_SECRET_BYTES = 32


def create(
    session: Session, actor: Actor, *, owner_id: UUID, url: str, events: Sequence[str], idempotency_key: str | None
) -> Webhook:
    """Make a webhook with a secret of its own.

    Its id is made from the caller's key and the idempotency key, if there is one: the same again gives the same
    webhook, whatever became of the first answer.

    Raises:
        IdempotencyMismatchError: If the caller used the idempotency key for another webhook.
        ConflictError: If the owner has as many webhooks as they may.
    """
    webhook_id = uuid5(actor.key_id, idempotency_key) if actor.key_id and idempotency_key else uuid4()
    values = {
        "id": webhook_id,
        "owner_id": owner_id,
        "url": url,
        "secret": _new_secret(),
        "events": list(events),
    }
    insertion = insert(Webhook).values(values).on_conflict_do_nothing().returning(Webhook)
    made: Webhook | None = session.scalar(insertion)
    if made is None:
        return _repeated(session, owner_id, webhook_id, url, events)
    owners.lock(session, owner_id)
    if _count(session, owner_id) > MAX_PER_OWNER:
        raise ConflictError(f"There are {MAX_PER_OWNER} webhooks already.", hint="Delete one that is not needed.")
    audit.record(session, actor, "webhook.create", made.id, events=made.events)
    return made


def get(session: Session, webhook_id: UUID, *, owner_id: UUID) -> Webhook:
    """A webhook.

    Raises:
        NotFoundError: If the owner has none of that id.
    """
    webhook = session.scalar(select(Webhook).where(Webhook.id == webhook_id, Webhook.owner_id == owner_id))
    if webhook is None:
        raise NotFoundError(f"There is no webhook {webhook_id}.")
    return webhook


def list_page(session: Session, *, owner_id: UUID, limit: int, after: UUID | None) -> paging.Page[Webhook]:
    """The owner's webhooks, newest first."""
    theirs = Webhook.owner_id == owner_id
    return paging.newest_first(session, Webhook, Webhook.created_at, within=theirs, limit=limit, after=after)


def delete_webhook(session: Session, actor: Actor, webhook_id: UUID, *, owner_id: UUID) -> None:
    """Tell it nothing more, and forget what it was told.

    Raises:
        NotFoundError: If the owner has none of that id.
    """
    session.delete(get(session, webhook_id, owner_id=owner_id))
    audit.record(session, actor, "webhook.delete", webhook_id)


def list_deliveries(
    session: Session, webhook_id: UUID, *, owner_id: UUID, limit: int, after: UUID | None
) -> paging.Page[WebhookDelivery]:
    """What a webhook was told, and is yet to be told, newest first.

    Raises:
        NotFoundError: If the owner has no webhook of that id.
    """
    get(session, webhook_id, owner_id=owner_id)
    of_it, at = WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.created_at
    return paging.newest_first(session, WebhookDelivery, at, within=of_it, limit=limit, after=after)


def send_again(session: Session, webhook_id: UUID, delivery_id: UUID, *, owner_id: UUID) -> WebhookDelivery:
    """Make a message due now, whether it is waiting, was given up or has arrived.

    Raises:
        NotFoundError: If the owner has no such webhook, or it no such message.
        ConflictError: If the webhook is disabled.
    """
    if get(session, webhook_id, owner_id=owner_id).disabled_at is not None:
        raise ConflictError(f"The webhook {webhook_id} is disabled.", hint="Delete it, and make it anew.")
    its = WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook_id
    due = update(WebhookDelivery).where(*its).values(next_at=func.now()).returning(WebhookDelivery)
    delivery: WebhookDelivery | None = session.scalar(due)
    if delivery is None:
        raise NotFoundError(f"The webhook {webhook_id} has no message {delivery_id}.")
    return delivery


def announce(session: Session, job: Job) -> None:
    """Write a message for every webhook that wants to know of this job's end.

    One statement, so that a webhook which is deleted at this moment cannot fail the job: its row is locked, or skipped.
    """
    event = f"job.{job.state}"
    columns = ("id", "webhook_id", "job_id", "event", "payload", "next_at")
    values = (func.gen_random_uuid(), Webhook.id, literal(job.id), literal(event), literal(_payload(job)), func.now())
    wanted = Webhook.owner_id == job.owner_id, Webhook.disabled_at.is_(None), Webhook.events.contains([event])
    hooks = select(*values).where(*wanted).with_for_update(read=True, key_share=True)
    session.execute(insert(WebhookDelivery).from_select(columns, hooks))


def _payload(job: Job) -> str:
    path = f"/v1/jobs/{job.id}"
    links = {"job": path, **({"report": f"{path}/report", "artifacts": f"{path}/artifacts"} if job.report else {})}
    columns = {name: getattr(job, name) for name in ("id", "name", "state", "verdict", "error")}
    message = {"type": f"job.{job.state}", "timestamp": getattr(job, f"{job.state}_at")}
    return wire.JobEnded.model_validate({**message, "data": {**columns, "links": links}}).model_dump_json()


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _repeated(session: Session, owner_id: UUID, webhook_id: UUID, url: str, events: Sequence[str]) -> Webhook:
    webhook = get(session, webhook_id, owner_id=owner_id)
    if (webhook.url, webhook.events) != (url, list(events)):
        raise IdempotencyMismatchError(
            "The idempotency key was used before, for another webhook.",
            hint="Use a new key for each new webhook, and the same one only to repeat a request.",
        )
    return webhook


def _count(session: Session, owner_id: UUID) -> int:
    return session.scalar(select(func.count()).where(Webhook.owner_id == owner_id)) or 0

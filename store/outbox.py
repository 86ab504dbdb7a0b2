"""The messages to webhooks on their way: which are due, who is sending them, and what became of them.

A worker takes a message for as long as an attempt may last. One that is killed in the middle of it leaves the message
to be sent again, under the same id: it arrives at least once, and its receiver tells by the id when it comes twice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import CursorResult, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on

from store import audit
from store.tables import Webhook, WebhookDelivery

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

# Seconds before the second attempt, the third, and so on: the schedule of Standard Webhooks 1.0, three days in all.
DELAYS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
_JITTER = 0.1  # a receiver that broke under a burst shall not meet the same burst again
_TAKEN_SECONDS = 60.0  # longer than an attempt takes; a message whose worker was killed is due again after it
_LOG_DAYS = 30


@dataclass(frozen=True)
class Message:
    """A message that this worker has taken, and shall send now.

    Attributes:
        attempt: Its number, from 1; guards what is noted about it afterwards.
        at: The time, by the database: receivers compare it with theirs, and a worker's clock may be wrong.
    """

    id: UUID
    webhook_id: UUID
    attempt: int
    payload: str
    url: str
    secret: str
    at: datetime


def take(session: Session, *, busy: Collection[UUID], limit: int) -> list[Message]:
    """Take messages that are due, those that have waited longest first, and one of each webhook.

    Args:
        session: A transaction.
        busy: Webhooks to leave alone: one that is slow to answer holds up nobody but itself.
        limit: How many at most.
    """
    due = WebhookDelivery.next_at <= func.now(), WebhookDelivery.webhook_id.not_in(list(busy))
    order = WebhookDelivery.webhook_id, WebhookDelivery.next_at
    heads = select(WebhookDelivery.id).where(*due).ext(distinct_on(WebhookDelivery.webhook_id)).order_by(*order)
    free = select(WebhookDelivery.id).where(WebhookDelivery.id.in_(heads), WebhookDelivery.next_at <= func.now())
    free = free.order_by(WebhookDelivery.next_at).limit(limit).with_for_update(skip_locked=True)
    taken = free.cte("taken")  # evaluated once: a subquery may be run again for each row that it is compared with
    statement = (
        update(WebhookDelivery)
        .where(WebhookDelivery.id == taken.c.id, WebhookDelivery.webhook_id == Webhook.id)
        .values(attempts=WebhookDelivery.attempts + 1, next_at=func.now() + timedelta(seconds=_TAKEN_SECONDS))
        .returning(
            WebhookDelivery.id,
            WebhookDelivery.webhook_id,
            WebhookDelivery.attempts,
            WebhookDelivery.payload,
            Webhook.url,
            Webhook.secret,
            func.now(),
        )
    )
    return [Message(*row) for row in session.execute(statement, execution_options=_NO_SYNC)]


def delivered(session: Session, message: Message, status: int) -> None:
    """Note that a message has arrived."""
    _note(session, message, status=status, error=None, delivered_at=func.now(), next_at=None)


def failed(session: Session, message: Message, error: str, status: int | None = None, wait_seconds: float = 0) -> None:
    """Note that an attempt has failed, and when the next one is due.

    The last attempt gives the message up. It also disables its webhook, unless that has taken another one since this
    was written: for as long as all attempts last, it has answered nothing.

    Args:
        session: A transaction.
        message: The message.
        error: Why, in words for its owner.
        status: The HTTP status that was answered, if one was.
        wait_seconds: The receiver asks not to be called before.
    """
    if message.attempt > len(DELAYS):
        _note(session, message, status=status, error=error, next_at=None)
        if not _has_taken_another(session, message):
            disable(session, message.webhook_id)
        return
    delay = DELAYS[message.attempt - 1] * random.uniform(1, 1 + _JITTER)  # noqa: S311 - nothing to be guessed
    next_at = func.now() + timedelta(seconds=max(delay, min(wait_seconds, DELAYS[-1])))
    enabled = Webhook.id == message.webhook_id, Webhook.disabled_at.is_(None)
    _note(session, message, status=status, error=error, next_at=select(next_at).where(*enabled).scalar_subquery())


def gone(session: Session, message: Message, status: int) -> None:
    """Note that the receiver wants to hear nothing more."""
    _note(session, message, status=status, error="The receiver wants no more messages.", next_at=None)
    disable(session, message.webhook_id)


def disable(session: Session, webhook_id: UUID) -> None:
    """Tell a webhook nothing more, not even what is on its way."""
    enabled = Webhook.id == webhook_id, Webhook.disabled_at.is_(None)
    disabled = update(Webhook).where(*enabled).values(disabled_at=func.now()).returning(Webhook.id)
    if session.scalar(disabled, execution_options=_NO_SYNC) is None:
        return
    waiting = WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.next_at.is_not(None)
    session.execute(update(WebhookDelivery).where(*waiting).values(next_at=None), execution_options=_NO_SYNC)
    audit.record(session, audit.SERVICE, "webhook.disable", webhook_id)


def delete_old(session: Session) -> int:
    """Remove from the log what is long over; how many messages that were."""
    over = WebhookDelivery.next_at.is_(None), WebhookDelivery.created_at < func.now() - timedelta(days=_LOG_DAYS)
    done = session.execute(delete(WebhookDelivery).where(*over), execution_options=_NO_SYNC)
    return done.rowcount if isinstance(done, CursorResult) else 0


_NO_SYNC = {"synchronize_session": False}


def _note(session: Session, message: Message, **values: object) -> None:
    """Without effect if the attempt took so long that somebody else has begun another."""
    its = WebhookDelivery.id == message.id, WebhookDelivery.attempts == message.attempt
    session.execute(update(WebhookDelivery).where(*its).values(**values), execution_options=_NO_SYNC)


def _has_taken_another(session: Session, message: Message) -> bool:
    written = select(WebhookDelivery.created_at).where(WebhookDelivery.id == message.id).scalar_subquery()
    since = WebhookDelivery.webhook_id == message.webhook_id, WebhookDelivery.delivered_at >= written
    return bool(session.scalar(select(exists().where(*since))))

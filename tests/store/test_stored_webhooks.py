from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text, update
from storing import OWNER, queue, start, together, wait_until_one_waits

from store import audit, jobs, keys, leases, outbox, webhooks
from store.audit import Actor
from store.errors import ConflictError, IdempotencyMismatchError, NotFoundError
from store.outbox import DELAYS, Message
from store.tables import AuditEntry, Owner, Webhook, WebhookDelivery

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from octet.report import Report
    from store.database import Database

URL = "https://example.com/hook"
ALL = ("job.succeeded", "job.failed", "job.cancelled")


@pytest.fixture
def actor(database: Database) -> Actor:
    with database.begin() as session:
        return Actor(OWNER, keys.create(session, "test")[0].id)


def make(session: Session, actor: Actor, **values: Any) -> Webhook:
    given = {"owner_id": actor.owner_id, "url": URL, "events": ALL, "idempotency_key": None, **values}
    return webhooks.create(session, actor, **given)


def cancel(database: Database, job_id: UUID) -> str:
    with database.begin() as session:
        return jobs.cancel(session, job_id, owner_id=OWNER).state


def end_a_job(database: Database) -> UUID:
    """Cancels one that was queued."""
    with database.begin() as session:
        job = queue(session)
    cancel(database, job.id)
    return job.id


def take(database: Database, *busy: UUID, limit: int = 100) -> list[Message]:
    with database.begin() as session:
        return outbox.take(session, busy=busy, limit=limit)


def make_due(database: Database, message: Message) -> None:
    """As if its wait were over, and that of no other for so long."""
    with database.begin() as session:
        waiting = WebhookDelivery.id == message.id, WebhookDelivery.next_at.is_not(None)
        session.execute(update(WebhookDelivery).where(*waiting).values(next_at=func.now() - timedelta(days=1)))


def messages(database: Database) -> list[WebhookDelivery]:
    with database.begin() as session:
        return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.created_at)))


def the_webhook(database: Database) -> Webhook:
    with database.begin() as session:
        return session.scalars(select(Webhook)).one()


def fail_until_given_up(database: Database, message: Message) -> None:
    """Every attempt at it fails, from the one that is under way."""
    while True:
        with database.begin() as session:
            outbox.failed(session, message, "no")
        make_due(database, message)
        if not (taken := [each for each in take(database) if each.id == message.id]):
            return
        message = taken[0]


def test_each_webhook_has_a_secret_of_its_own_of_256_bits(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        one, other = make(session, actor).secret, make(session, actor).secret
    assert one != other
    assert one.startswith("whsec_")
    assert len(one) == len("whsec_") + 44


def test_the_same_idempotency_key_makes_one_webhook(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        first = make(session, actor, idempotency_key="k")
    with database.begin() as session:
        again = make(session, actor, idempotency_key="k")
        assert (again.id, again.secret) == (first.id, first.secret)
        with pytest.raises(IdempotencyMismatchError):
            make(session, actor, idempotency_key="k", url="https://example.com/other")
        assert make(session, Actor(OWNER, keys.create(session, "other")[0].id), idempotency_key="k").id != first.id


def test_an_owner_has_a_limited_number_of_webhooks(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        for _ in range(webhooks.MAX_PER_OWNER):
            make(session, actor)
        with pytest.raises(ConflictError, match="10 webhooks"):
            make(session, actor)


def test_of_webhooks_that_race_for_the_last_place_one_gets_it(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        for _ in range(webhooks.MAX_PER_OWNER - 1):
            make(session, actor)
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as first:
            make(first, actor)
            second = pool.submit(make_another, database, actor)
            wait_until_one_waits(database)
        with pytest.raises(ConflictError):
            second.result(30)


def make_another(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)


def test_making_and_deleting_are_audited_without_the_secret(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        webhook = make(session, actor)
        webhooks.delete_webhook(session, actor, webhook.id, owner_id=OWNER)
        of_it = AuditEntry.subject_id == str(webhook.id)
        entries = list(session.scalars(select(AuditEntry).where(of_it).order_by(AuditEntry.id)))
    assert [entry.action for entry in entries] == ["webhook.create", "webhook.delete"]
    assert all(entry.key_id == actor.key_id for entry in entries)
    assert "whsec_" not in str([entry.detail for entry in entries])


def test_the_end_of_a_job_is_told_to_those_of_its_owner_who_want_it(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        stranger = Owner(name="stranger")
        session.add(stranger)
        session.flush()
        wanting = make(session, actor)
        make(session, actor, events=["job.succeeded"])
        make(session, actor, owner_id=stranger.id)
        outbox.disable(session, make(session, actor).id)
    job = end_a_job(database)
    [message] = messages(database)
    assert (message.webhook_id, message.job_id, message.event) == (wanting.id, job, "job.cancelled")


def test_a_message_says_how_the_job_ended_and_where_to_read_more(
    database: Database, actor: Actor, report: Report
) -> None:
    with database.begin() as session:
        make(session, actor)
        job = start(session, queue(session, name="a first try").id)
    with database.begin() as session:
        assert leases.succeed(session, job.id, job.attempt, report, [])
    payload = json.loads(messages(database)[0].payload)
    assert payload["type"] == "job.succeeded"
    path = f"/v1/jobs/{job.id}"
    assert payload["data"] == {
        "id": str(job.id),
        "name": "a first try",
        "state": "succeeded",
        "verdict": "passes",
        "error": None,
        "links": {"job": path, "report": f"{path}/report", "artifacts": f"{path}/artifacts"},
    }


def test_there_is_no_message_of_an_end_that_did_not_come_to_be(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)
        job = start(session)
    with database.begin() as session:
        assert leases.fail(session, job.id, job.attempt, {"code": "c", "message": "m"})
        session.rollback()
    with database.begin() as session:
        assert not leases.fail(session, job.id, job.attempt + 1, {"code": "c", "message": "m"})
    assert messages(database) == []


def test_a_webhook_that_is_deleted_as_a_job_ends_does_not_keep_it_from_ending(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        webhook, job = make(session, actor), queue(session)
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as deleting:
            webhooks.delete_webhook(deleting, actor, webhook.id, owner_id=OWNER)
            deleting.flush()
            ending = pool.submit(cancel, database, job.id)
            wait_until_one_waits(database)
        assert ending.result(30) == "cancelled"
    assert messages(database) == []


def test_a_message_is_taken_by_one_worker(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)
    end_a_job(database)
    taken = together(database, *[lambda session: outbox.take(session, busy=(), limit=10)] * 4)
    assert sorted(map(len, taken)) == [0, 0, 0, 1]


def test_nobody_waits_for_a_worker_that_is_taking_a_message(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)
    end_a_job(database)
    with database.begin() as one, database.begin() as other:
        other.execute(text("SET LOCAL lock_timeout = '2s'"))
        assert len(outbox.take(one, busy=(), limit=10)) == 1
        assert outbox.take(other, busy=(), limit=10) == []


def test_a_webhook_gets_one_message_at_a_time_and_a_busy_one_none(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        one, other = make(session, actor), make(session, actor)
    for _ in range(3):
        end_a_job(database)
    assert {message.webhook_id for message in take(database, one.id)} == {other.id}
    assert [message.webhook_id for message in take(database, other.id, limit=5)] == [one.id]


def test_a_message_whose_sender_was_killed_is_sent_again_under_its_id(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)
    end_a_job(database)
    [first] = take(database)
    assert take(database) == []
    make_due(database, first)
    [second] = take(database)
    assert (second.id, second.payload, second.attempt) == (first.id, first.payload, 2)
    with database.begin() as session:  # the first sender was only slow: it has no say any more
        outbox.failed(session, first, "late")
    assert messages(database)[0].error is None


def test_a_message_that_arrived_is_over(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)
    end_a_job(database)
    [message] = take(database)
    with database.begin() as session:
        outbox.delivered(session, message, 204)
    make_due(database, message)
    assert take(database) == []
    [row] = messages(database)
    assert (row.status, row.attempts, row.next_at) == (204, 1, None)
    assert row.delivered_at is not None


def test_waits_grow_as_the_specification_has_it(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)
    end_a_job(database)
    for delay in DELAYS:
        [message] = take(database)
        with database.begin() as session:
            outbox.failed(session, message, "It answered 500.", 500)
            waits = session.scalar(select(WebhookDelivery.next_at - func.now()))
        assert timedelta(seconds=delay) <= waits <= timedelta(seconds=1.1 * delay)
        make_due(database, message)
    assert sum(DELAYS) > timedelta(days=3).total_seconds()


def test_a_receiver_may_ask_for_a_longer_wait_but_not_for_ever(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)
    for asked, given in ((600.0, 600.0), (1e9, 86_400.0)):
        end_a_job(database)
        [message] = take(database)
        with database.begin() as session:
            outbox.failed(session, message, "no", 429, asked)
            waits = session.scalar(select(WebhookDelivery.next_at - func.now()).where(WebhookDelivery.id == message.id))
        assert waits == timedelta(seconds=given)


def test_a_webhook_is_disabled_when_every_attempt_at_a_message_has_failed(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)
    end_a_job(database)
    [message] = take(database)
    end_a_job(database)
    fail_until_given_up(database, message)
    assert messages(database)[0].attempts == len(DELAYS) + 1
    assert the_webhook(database).disabled_at is not None
    assert [row.next_at for row in messages(database)] == [None, None]
    with database.begin() as session:
        page = audit.list_page(session, owner_id=None, subject_id=None, limit=1, after=None)
    assert page.rows[0].action == "webhook.disable"
    end_a_job(database)
    assert len(messages(database)) == 2


def test_a_webhook_that_has_taken_another_message_since_stays(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        webhook = make(session, actor)
    end_a_job(database)
    [message] = take(database)
    end_a_job(database)
    [other] = take(database)
    with database.begin() as session:
        outbox.delivered(session, other, 200)
    fail_until_given_up(database, message)
    assert messages(database)[0].next_at is None
    with database.begin() as session:
        assert webhooks.get(session, webhook.id, owner_id=OWNER).disabled_at is None


def test_a_receiver_that_is_gone_is_told_nothing_more(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)
    end_a_job(database)
    [message] = take(database)
    end_a_job(database)
    [under_way] = take(database)
    with database.begin() as session:
        outbox.gone(session, message, 410)
        outbox.failed(session, under_way, "no")
    assert the_webhook(database).disabled_at is not None
    assert [row.next_at for row in messages(database)] == [None, None]


def test_a_message_can_be_sent_again_by_hand(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        webhook = make(session, actor)
    end_a_job(database)
    [message] = take(database)
    with database.begin() as session:
        outbox.delivered(session, message, 200)
        webhooks.send_again(session, webhook.id, message.id, owner_id=OWNER)
    assert [each.id for each in take(database)] == [message.id]
    with database.begin() as session:
        with pytest.raises(NotFoundError):
            webhooks.send_again(session, webhook.id, uuid4(), owner_id=OWNER)
        outbox.disable(session, webhook.id)
        with pytest.raises(ConflictError, match="disabled"):
            webhooks.send_again(session, webhook.id, message.id, owner_id=OWNER)


def test_the_log_forgets_what_is_long_over_and_nothing_that_waits(database: Database, actor: Actor) -> None:
    with database.begin() as session:
        make(session, actor)
    end_a_job(database)
    end_a_job(database)
    [message] = take(database)
    with database.begin() as session:
        outbox.delivered(session, message, 200)
        session.execute(update(WebhookDelivery).values(created_at=func.now() - timedelta(days=31)))
        assert outbox.delete_old(session) == 1
    assert [row.delivered_at for row in messages(database)] == [None]

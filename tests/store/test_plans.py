"""What is asked often is found by an index, however much is stored."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, event, func, insert, select, text
from storing import OWNER, queue

from store import jobs, quotas, statistics, uploads
from store.tables import Job, Model, Webhook, WebhookDelivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.orm import Session

    from store.database import Database

MANY = 3000
_ANALYZE = text("ANALYZE jobs, models, webhook_deliveries")


@pytest.fixture
def crowded(database: Database) -> Iterator[Database]:
    """Many jobs that have succeeded, models that were deleted long ago, and messages that have arrived."""
    many, always = func.generate_series(1, MANY).table_valued("number"), text("true")
    with database.begin() as session:
        job = queue(session)
        same = [column for column in Job.__table__.c if column.name not in {"id", "state"}]
        copies = select(*same, func.gen_random_uuid(), text("'succeeded'")).join(many, always)
        session.execute(insert(Job).from_select([*(column.name for column in same), "id", "state"], copies))
        same = [Model.owner_id, Model.name, Model.size, Model.spec]
        copies = select(*same, func.gen_random_uuid(), func.now(), func.now()).join(many, always)
        names = ["owner_id", "name", "size", "spec", "id", "expires_at", "deleted_at"]
        session.execute(insert(Model).from_select(names, copies))
        hook = session.scalar(insert(Webhook).values(owner_id=OWNER, url="", secret="", events=[]).returning(Webhook))
        told = {"webhook_id": hook.id, "job_id": job.id, "event": "", "payload": "", "delivered_at": datetime.now(UTC)}
        session.execute(insert(WebhookDelivery), [told] * MANY)
        session.execute(_ANALYZE)
    yield database
    with database.begin() as session:  # for the plans of other tests
        for table in (WebhookDelivery, Job, Model):
            session.execute(delete(table))
        session.execute(_ANALYZE)


@pytest.mark.parametrize(
    "ask",
    [
        lambda session: jobs.list_page(session, owner_id=OWNER, status="cancelled", limit=20, after=None),
        lambda session: quotas.check_jobs(session, OWNER, 10),
        lambda session: uploads.expired(session, 100, kind="model"),
        lambda session: statistics.take(session, lease_seconds=20),
    ],
)
def test_what_is_asked_for_is_found_without_passing_over_the_rest(
    crowded: Database, ask: Callable[[Session], object]
) -> None:
    asked: list[tuple[str, Any]] = []

    def note(*given: Any) -> None:
        asked.append(given[2:4])

    event.listen(crowded.engine, "before_cursor_execute", note)
    try:
        with crowded.begin() as session:
            ask(session)
    finally:
        event.remove(crowded.engine, "before_cursor_execute", note)
    with crowded.begin() as session:
        for query, given in asked:
            plan = session.connection().exec_driver_sql(f"EXPLAIN ANALYZE {query}", given).scalars().all()
            passed_over = re.findall(r"Rows Removed by Filter: (\d+)", "\n".join(plan))
            assert all(int(rows) < MANY / 10 for rows in passed_over), plan

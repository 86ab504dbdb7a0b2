"""Figures about everything that is stored, for whoever watches the service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Double, cast, func, select

from store import durations
from store.states import HELD
from store.tables import Blob, Job, PartialUpload, WebhookDelivery, Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from octet.wire import JobState


@dataclass(frozen=True)
class Figures:
    """How things stand. Ages are in seconds, and 0 where there is nothing that could have one.

    Attributes:
        jobs: How many are in each state; a state without jobs is absent.
        durations: How long jobs ran, since there has been a service.
        queue_age: Of the job that has been queued longest.
        leases_held: Jobs that a worker has, and was heard of in time.
        leases_expired: Jobs whose worker was lost, until somebody puts that right.
        workers: Those heard of within a lease.
        slots: How many jobs these can run at a time.
        heartbeat_age: Since the worker was last heard of that has been silent for longest; forgotten ones left out.
        deliveries_pending: Messages to webhooks that have yet to arrive.
        deliveries_failed: Those that were given up.
        partial_uploads: Files that arrive in parts, and have not arrived in full.
        partial_bytes: What has arrived of them.
        blobs: Contents.
        blob_bytes: Of all of them together.
        database_bytes: What the whole database takes on disk.
    """

    jobs: Mapping[JobState, int]
    durations: Mapping[durations.Kind, durations.Histogram]
    queue_age: float
    leases_held: int
    leases_expired: int
    workers: int
    slots: int
    heartbeat_age: float
    deliveries_pending: int
    deliveries_failed: int
    partial_uploads: int
    partial_bytes: int
    blobs: int
    blob_bytes: int
    database_bytes: int

    @property
    def queue_depth(self) -> int:
        """How many jobs wait for a worker."""
        return self.jobs.get("queued", 0)


def take(session: Session, *, lease_seconds: float) -> Figures:
    """The figures as they are now; a worker that was not heard of for a lease counts as gone."""
    single = {name: query.scalar_subquery().label(name) for name, query in _queries(lease_seconds).items()}
    return Figures(
        jobs=dict(session.execute(select(Job.state, func.count()).group_by(Job.state)).all()),
        durations=durations.histograms(session),
        **session.execute(select(*single.values())).mappings().one(),
    )


def _queries(lease_seconds: float) -> dict[str, Select[Any]]:
    alive = Worker.seen_at > func.now() - timedelta(seconds=lease_seconds)
    arriving = PartialUpload.result_id.is_(None), PartialUpload.error.is_(None)
    return {
        "queue_age": select(_age(func.min(Job.queued_at))).where(Job.state == "queued"),
        "leases_held": select(func.count()).where(Job.state.in_(HELD), Job.lease_until >= func.now()),
        "leases_expired": select(func.count()).where(Job.state.in_(HELD), Job.lease_until < func.now()),
        "workers": select(func.count()).select_from(Worker).where(alive),
        "slots": select(_sum(Worker.slots)).where(alive),
        "heartbeat_age": select(_age(func.min(Worker.seen_at))),
        "deliveries_pending": select(func.count()).where(WebhookDelivery.next_at.is_not(None)),
        "deliveries_failed": select(func.count()).where(
            WebhookDelivery.next_at.is_(None), WebhookDelivery.delivered_at.is_(None)
        ),
        "partial_uploads": select(func.count()).select_from(PartialUpload).where(*arriving),
        "partial_bytes": select(_sum(PartialUpload.received)).where(*arriving),
        "blobs": select(func.count()).select_from(Blob),
        "blob_bytes": select(_sum(Blob.size)),
        "database_bytes": select(func.pg_database_size(func.current_database())),
    }


def _age(oldest: ColumnElement[Any]) -> ColumnElement[float]:
    return func.coalesce(cast(func.extract("epoch", func.now() - oldest), Double), 0.0)


def _sum(column: Any) -> ColumnElement[int]:
    return func.coalesce(cast(func.sum(column), BigInteger), 0)

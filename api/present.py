"""Rows of the store as the types that go over the wire. Where names agree, columns become fields by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from octet import wire
from octet.report import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from store import paging, tables
    from store.keys import Limits
    from store.quotas import Usage

Upload: TypeAlias = "tables.Model | tables.Dataset"
Row = TypeVar("Row", bound="tables.Base")
Item = TypeVar("Item")


def page(rows: paging.Page[Row], item: Callable[[Row], Item]) -> wire.Page[Item]:
    """Part of a list."""
    return wire.Page(data=[item(row) for row in rows.rows], has_more=rows.has_more, next=rows.next and str(rows.next))


def model(row: Upload) -> wire.Model:
    """A model, without its layers."""
    return wire.Model.model_validate({**_columns(row), **row.spec})


def dataset(row: Upload) -> wire.Dataset:
    """A dataset."""
    return wire.Dataset.model_validate({**_columns(row), **row.spec})


def partial_upload(row: tables.PartialUpload) -> wire.PartialUpload:
    """A file that arrives in parts."""
    return wire.PartialUpload.model_validate({**_columns(row), "result": row.result_id})


def job(row: tables.Job, metrics: Iterable[tables.Metric], queue_position: int | None) -> wire.Job:
    """A job and how far it has come."""
    return wire.Job.model_validate(
        {
            **_columns(row),
            "model": row.model_id,
            "calibration": row.calibration_id,
            "evaluation": row.evaluation_id,
            "metrics": [Metric.model_validate(figure, from_attributes=True) for figure in metrics],
            "queue_position": queue_position,
        }
    )


def event(row: tables.JobEvent) -> wire.Event:
    """Something that happened to a job."""
    return wire.Event.model_validate(_columns(row))


def artifact(row: tables.Artifact) -> wire.Artifact:
    """A file that a job made."""
    return wire.Artifact.model_validate({**_columns(row), "job": row.job_id})


def webhook(row: tables.Webhook, *, secret: str | None = None) -> wire.Webhook:
    """A webhook; its secret is shown once, when it is made."""
    return wire.Webhook.model_validate({**_columns(row), "secret": secret})


def delivery(row: tables.WebhookDelivery) -> wire.WebhookDelivery:
    """A message to a webhook."""
    return wire.WebhookDelivery.model_validate({**_columns(row), "job": row.job_id})


def key_info(row: tables.ApiKey, owner: str, limits: Limits, usage: Usage) -> wire.KeyInfo:
    """A key, and how much of what it may use is used."""
    return wire.KeyInfo.model_validate({**_columns(row), "owner": owner, **limits._asdict(), **usage._asdict()})


def audit_entry(row: tables.AuditEntry) -> wire.AuditEntry:
    """Something that somebody did."""
    return wire.AuditEntry.model_validate(_columns(row))


def worker(row: tables.Worker, jobs: Sequence[UUID]) -> wire.Worker:
    """A worker and what it is running."""
    return wire.Worker.model_validate({**_columns(row), "jobs": jobs})


def _columns(row: tables.Base) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}

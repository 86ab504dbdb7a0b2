"""How a job stands, as one row of one statement: what is asked for more often than anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, func, select, tuple_
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased

from store.tables import Job, Metric

if TYPE_CHECKING:
    from sqlalchemy import Select

_FIGURE = (Metric.name, Metric.value, Metric.unit, Metric.batch_size)


def _status() -> Select[*tuple[Any, ...]]:
    figure = func.json_build_object(*(part for column in _FIGURE for part in (column.key, column)))
    figures = select(func.json_agg(aggregate_order_by(figure, Metric.id))).where(Metric.job_id == Job.id)
    other = aliased(Job)
    ahead = tuple_(other.queued_at, other.id) < tuple_(Job.queued_at, Job.id)
    waiting = select(func.count()).where(other.owner_id == Job.owner_id, other.state == "queued", ahead)
    return select(
        *(column for column in Job.__table__.c if column.key != "report"),
        func.coalesce(figures.scalar_subquery(), func.json_build_array()).label("metrics"),
        case((Job.state == "queued", waiting.scalar_subquery())).label("queue_position"),
    ).where(Job.id == bindparam("job_id"), Job.owner_id == bindparam("owner_id"))


STATUS = _status()
"""The job `job_id` of the owner `owner_id`: its columns but for the report, its figures as a JSON array, and how many
jobs of that owner will start before it. Made once, for making a statement takes longer than running it."""

"""How a job stands, in one statement: what is asked for more often than anything else."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, bindparam, case, cast, func, literal_column, select, tuple_
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased

from octet import wire
from octet.report import Metric as Figure
from store.tables import Job, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Select


def _status() -> Select[str]:
    figure = _json({name: getattr(Metric, name) for name in Figure.model_fields})
    figures = select(func.json_agg(aggregate_order_by(figure, Metric.id))).where(Metric.job_id == Job.id)
    other = aliased(Job)
    ahead = tuple_(other.queued_at, other.id) < tuple_(Job.queued_at, Job.id)
    waiting = select(func.count()).where(other.owner_id == Job.owner_id, other.state == "queued", ahead)
    found = {
        "metrics": func.coalesce(figures.scalar_subquery(), func.json_build_array()),
        "queue_position": case((Job.state == "queued", waiting.scalar_subquery())),
        "model": Job.model_id,
        "calibration": Job.calibration_id,
        "evaluation": Job.evaluation_id,
    }
    shown = {name: found[name] if name in found else getattr(Job, name) for name in wire.Job.model_fields}
    return select(cast(_json(shown), String)).where(
        Job.id == bindparam("job_id"), Job.owner_id == bindparam("owner_id")
    )


def _json(members: Mapping[str, Any]) -> ColumnElement[Any]:
    names = (literal_column(f"'{name}'", String) for name in members)
    return func.json_build_object(*chain.from_iterable(zip(names, members.values(), strict=True)))


STATUS = _status()
"""The job `job_id` of the owner `owner_id`, as the JSON of an `octet.wire.Job`. One column, since every column of a row
has its price, and made once, since making a statement takes longer than running it."""

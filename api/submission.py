"""Taking in a job: everything that can be known to be wrong is said now, and nothing is queued."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from structlog.contextvars import get_contextvars

from api import present
from api.labels import one_line
from octet.data.needs import check_data
from octet.rules import check_rules
from octet.spec import DatasetSpec, ProgramSpec
from store import audit, jobs, quotas, retention, uploads
from store.tracing import tracer

if TYPE_CHECKING:
    from uuid import UUID

    from api.doors import Identity
    from api.service import Service
    from octet import wire
    from octet.data.fit import Role
    from store.database import Session


def submit(service: Service, asked: wire.JobCreate, caller: Identity, idempotency_key: str | None) -> wire.Job:
    """Queue a job, or give the one that this idempotency key queued before, or one whose result may be reused.

    Raises:
        OctetError: If the job could not succeed, there are too many already, or what is stored leaves no room for more.
    """
    with service.database.begin() as session:
        row, created = jobs.create(
            session,
            owner_id=caller.owner_id,
            model_id=asked.model,
            calibration_id=asked.calibration,
            evaluation_id=asked.evaluation,
            recipe=asked.recipe.model_dump(mode="json"),
            name=one_line(asked.name or "") or None,
            key_id=caller.key_id,
            idempotency_key=idempotency_key,
            request_sha256=hashlib.sha256(asked.model_dump_json().encode()).hexdigest(),
            request_id=get_contextvars().get("request_id"),
            traceparent=tracer().context().get("traceparent"),
            expires_at=retention.expiry(session, asked.expires_at, service.settings.job_retention_seconds),
            reuse=asked.reuse,
        )
        if created:  # held by `create`, so what is checked here cannot be deleted any more
            check(session, asked, caller.owner_id)
            quotas.check_jobs(session, caller.owner_id, caller.limits.max_unfinished_jobs)
            quotas.check_storage(session, caller.owner_id, caller.limits.max_stored_bytes)
            audit.record(session, caller.actor, "job.create", row.id, name=row.name, model=str(row.model_id))
        job = present.job(row, jobs.metrics_of(session, [row.id])[row.id], jobs.queue_position(session, row))
    if created:
        service.hints.publish(row.id)
    return job


def check(session: Session, asked: wire.JobCreate, owner_id: UUID) -> None:
    """Compare the model, the recipe and the data with each other. An error points at the field of the request.

    Raises:
        NotFoundError: If the model or a dataset does not exist; a subclass of it if it was deleted.
        InvalidRecipeError: If the recipe is strict, and a rule matches no layer.
        InvalidDatasetError: If data is missing or does not fit.
    """
    model = uploads.get(session, "model", asked.model, owner_id=owner_id, field="model")
    program = ProgramSpec.model_validate(model.spec)
    check_rules(asked.recipe, program, at="/recipe")
    roles: tuple[tuple[Role, UUID | None], ...] = (("calibration", asked.calibration), ("evaluation", asked.evaluation))
    data = {
        role: DatasetSpec.model_validate(
            uploads.get(session, "dataset", dataset_id, owner_id=owner_id, field=role).spec
        )
        for role, dataset_id in roles
        if dataset_id is not None
    }
    check_data(program, asked.recipe, data)

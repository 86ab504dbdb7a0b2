"""The worker processes, and which of them are alive."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from store.protocol import PROTOCOL
from store.states import HELD
from store.tables import Job, Worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session

    from octet.wire import SandboxLayer


def register(  # noqa: PLR0917 - a row, column by column
    session: Session,
    worker_id: UUID,
    host: str,
    pid: int,
    version: str,
    slots: int,
    engines: Sequence[str],
    sandbox: Sequence[SandboxLayer] = (),
) -> None:
    """Note that a worker is alive: when it starts, and every so often after that."""
    values = {
        "host": host,
        "pid": pid,
        "version": version,
        "slots": slots,
        "engines": list(engines),
        "sandbox": [layer.model_dump() for layer in sandbox],
        "protocol": PROTOCOL,
    }
    again = {**values, "seen_at": func.now()}
    session.execute(
        insert(Worker).values(id=worker_id, **values).on_conflict_do_update(index_elements=["id"], set_=again)
    )


def seen_within(session: Session, worker_id: UUID, seconds: float) -> bool:
    """Whether the worker has shown within so many seconds that it is alive."""
    recent = select(Worker.id).where(Worker.id == worker_id, Worker.seen_at > func.now() - timedelta(seconds=seconds))
    return session.scalar(recent) is not None


def forget(session: Session, worker_id: UUID) -> None:
    """Remove a worker that stops."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def forget_lost(session: Session, not_for_seconds: float) -> None:
    """Remove workers that have not been heard of for so long."""
    session.execute(delete(Worker).where(Worker.seen_at < func.now() - timedelta(seconds=not_for_seconds)))


def list_alive(
    session: Session, within_seconds: float, *, owner_id: UUID | None = None
) -> list[tuple[Worker, list[UUID]]]:
    """The workers heard of within so many seconds, oldest first, each with the jobs it is running.

    With an owner, jobs of others are left out.
    """
    held = Job.state.in_(HELD) if owner_id is None else and_(Job.state.in_(HELD), Job.owner_id == owner_id)
    running: dict[UUID | None, list[UUID]] = defaultdict(list)
    for worker_id, job_id in session.execute(select(Job.worker_id, Job.id).where(held)):
        running[worker_id].append(job_id)
    recent = Worker.seen_at > func.now() - timedelta(seconds=within_seconds)
    workers = session.scalars(select(Worker).where(recent).order_by(Worker.started_at, Worker.id))
    return [(worker, running[worker.id]) for worker in workers]

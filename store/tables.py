"""The tables. All times are the database's own `now()`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from octet.wire import JobState
from store.columns import Text
from store.states import STATES


class Base(DeclarativeBase):
    """What every table shares: timestamps with time zone, JSONB, and predictable constraint names for Alembic."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own attribute
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        bytes: LargeBinary,
        str: Text,
    }


def _now() -> Mapped[datetime]:
    return mapped_column(server_default=func.now())


class ApiKey(Base):
    """Who may call. Only the key's sha-256 is kept."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(comment="First characters of the key, to tell keys apart.")
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = _now()
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Blob(Base):
    """Content, under its own sha-256. Complete or absent: a blob and its chunks are one transaction."""

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = _now()


class BlobChunk(Base):
    """A MiB of a blob; the last may be shorter. The column's storage is EXTERNAL: weights do not compress."""

    __tablename__ = "blob_chunks"

    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class Upload(Base):
    """What models and datasets have in common: a label on a blob."""

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str]
    sha256: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"), comment="Null once deleted.")
    size: Mapped[int] = mapped_column(BigInteger)
    spec: Mapped[dict[str, Any]] = mapped_column(comment="octet.spec, as JSON.")
    created_at: Mapped[datetime] = _now()
    deleted_at: Mapped[datetime | None]


class Model(Upload):
    """An uploaded model. A deleted one stays as a row, for the jobs that name it; its bytes go."""

    __tablename__ = "models"
    __table_args__ = (
        Index("uq_models_sha256", "sha256", unique=True),
        Index("ix_models_newest", "created_at", "id", postgresql_where=text("deleted_at IS NULL")),
    )


class Dataset(Upload):
    """Uploaded data. A deleted one stays as a row, for the jobs that name it; its bytes go."""

    __tablename__ = "datasets"
    __table_args__ = (
        Index("uq_datasets_sha256", "sha256", unique=True),
        Index("ix_datasets_newest", "created_at", "id", postgresql_where=text("deleted_at IS NULL")),
    )


class Job(Base):
    """A job. `attempt` guards every write of a worker: a worker that was given up cannot write any more."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({', '.join(repr(state) for state in STATES)})", name="state"),
        Index("uq_jobs_idempotency", "key_id", "idempotency_key", unique=True),
        Index("ix_jobs_newest", "queued_at", "id"),
        Index("ix_jobs_queue", "queued_at", "id", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_leases", "lease_until", postgresql_where=text("state IN ('running', 'cancelling')")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str | None]
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id"), index=True)
    calibration_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    evaluation_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    recipe: Mapped[dict[str, Any]]
    idempotency_key: Mapped[str | None] = mapped_column(comment="Unique among the jobs of one API key.")
    request_sha256: Mapped[str] = mapped_column(String(64), comment="Of the canonical request, for idempotency.")

    state: Mapped[JobState] = mapped_column(String, server_default="queued")
    stage: Mapped[str | None]
    progress: Mapped[float] = mapped_column(server_default="0")
    message: Mapped[str] = mapped_column(server_default="")
    attempt: Mapped[int] = mapped_column(server_default="0")
    released: Mapped[int] = mapped_column(server_default="0", comment="Attempts handed back; they do not count.")
    worker_id: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    hinted_at: Mapped[datetime | None] = mapped_column(comment="When its hint was last published.")
    checkpoint_sha256: Mapped[str | None] = mapped_column(
        ForeignKey("blobs.sha256"), index=True, comment="What its next attempt goes on from; null once it has ended."
    )

    report: Mapped[dict[str, Any] | None]
    verdict: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]

    queued_at: Mapped[datetime] = _now()
    running_at: Mapped[datetime | None]
    cancelling_at: Mapped[datetime | None]
    succeeded_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]


class JobEvent(Base):
    """Something that happened to a job, in order of `id`."""

    __tablename__ = "job_events"
    __table_args__ = (Index("ix_job_events_job", "job_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    at: Mapped[datetime] = _now()
    kind: Mapped[str]
    state: Mapped[JobState] = mapped_column(String)
    stage: Mapped[str | None]
    progress: Mapped[float]
    message: Mapped[str]
    attempt: Mapped[int]


class Artifact(Base):
    """A file that a job made."""

    __tablename__ = "artifacts"
    __table_args__ = (Index("uq_artifacts_job_name", "job_id", "name", unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    name: Mapped[str]
    media_type: Mapped[str]
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = _now()


class Metric(Base):
    """One figure of a job's report."""

    __tablename__ = "metrics"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    value: Mapped[float]
    unit: Mapped[str]
    batch_size: Mapped[int | None]


class LayerMetric(Base):
    """What became of one layer, and what it cost."""

    __tablename__ = "layer_metrics"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    type: Mapped[str]
    method: Mapped[str]
    reason: Mapped[str | None]
    parameters: Mapped[int] = mapped_column(BigInteger)
    bits: Mapped[int | None]
    weight_sqnr_db: Mapped[float | None]
    activation_sqnr_db: Mapped[float | None]
    own_sqnr_db: Mapped[float | None]
    input_range: Mapped[list[float] | None] = mapped_column(ARRAY(Double), comment="Least and largest value.")
    output_range: Mapped[list[float] | None] = mapped_column(ARRAY(Double), comment="Least and largest value.")
    saturation: Mapped[float | None]
    latency_share_fp32: Mapped[float | None]
    latency_share_int8: Mapped[float | None]
    rank: Mapped[int | None]


class Worker(Base):
    """A worker process. One not seen for a lease is gone."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    slots: Mapped[int]
    engines: Mapped[list[Any]]
    started_at: Mapped[datetime] = _now()
    seen_at: Mapped[datetime] = _now()

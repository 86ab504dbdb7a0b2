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

# The owner of everything that was there before there were owners; `keys create` makes keys of theirs by default.
FIRST_OWNER = "00000000-0000-0000-0000-000000000001"


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


class Owner(Base):
    """Whom models, datasets, jobs and webhooks belong to. Several keys may act for one, so a key can be replaced."""

    __tablename__ = "owners"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = _now()


class ApiKey(Base):
    """Who may call, and how much. Only the key's sha-256 is kept."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id"), index=True, server_default=FIRST_OWNER)
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(comment="First characters of the key, to tell keys apart.")
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String), server_default="{read,submit,admin}")
    max_stored_bytes: Mapped[int | None] = mapped_column(BigInteger, comment="Null: the service's setting.")
    max_unfinished_jobs: Mapped[int | None] = mapped_column(comment="Queued and running. Null: the service's setting.")
    max_requests_per_minute: Mapped[int | None] = mapped_column(comment="Null: the service's setting.")
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class BrowserSession(Base):
    """Somebody signed in on the page. Only the sha-256 of what the cookie holds is kept."""

    __tablename__ = "browser_sessions"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime]


class AuditEntry(Base):
    """Who did what. Nothing is ever deleted here, and nothing refers to what may be."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_owner", "owner_id", "id"), Index("ix_audit_log_subject", "subject_id"))

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = _now()
    owner_id: Mapped[UUID | None] = mapped_column(comment="Null: the service itself, or its operator.")
    key_id: Mapped[UUID | None]
    request_id: Mapped[str | None]
    action: Mapped[str] = mapped_column(comment="What was done to what: `job.create`, `model.delete`, `key.revoke`.")
    subject_id: Mapped[str | None] = mapped_column(comment="Id of what it was done to.")
    detail: Mapped[dict[str, Any]] = mapped_column(server_default="{}", comment="Names and sizes; never content.")


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
    """What models and datasets have in common: a label on a blob. The same bytes of two owners are two rows on one."""

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id"), server_default=FIRST_OWNER)
    name: Mapped[str]
    sha256: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"), comment="Null once deleted.")
    size: Mapped[int] = mapped_column(BigInteger)
    spec: Mapped[dict[str, Any]] = mapped_column(comment="octet.spec, as JSON.")
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime | None] = mapped_column(comment="When it is deleted by itself.")
    deleted_at: Mapped[datetime | None]


class Model(Upload):
    """An uploaded model. A deleted one stays as a row, for the jobs that name it; its bytes go."""

    __tablename__ = "models"
    __table_args__ = (
        Index("uq_models_content", "owner_id", "sha256", unique=True),
        Index("ix_models_sha256", "sha256"),
        Index("ix_models_newest", "owner_id", "created_at", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("ix_models_expires_at", "expires_at", postgresql_where=text("deleted_at IS NULL")),
    )


class Dataset(Upload):
    """Uploaded data. A deleted one stays as a row, for the jobs that name it; its bytes go."""

    __tablename__ = "datasets"
    __table_args__ = (
        Index("uq_datasets_content", "owner_id", "sha256", unique=True),
        Index("ix_datasets_sha256", "sha256"),
        Index("ix_datasets_newest", "owner_id", "created_at", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("ix_datasets_expires_at", "expires_at", postgresql_where=text("deleted_at IS NULL")),
    )


class PartialUpload(Base):
    """A file that arrives in parts (tus 1.0), and what became of it."""

    __tablename__ = "partial_uploads"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id"), index=True)
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    kind: Mapped[str] = mapped_column(comment="`model` or `dataset`.")
    name: Mapped[str | None]
    metadata_: Mapped[str] = mapped_column("metadata", server_default="", comment="The header, as it was sent.")
    size: Mapped[int] = mapped_column(BigInteger, comment="Bytes of the whole file.")
    received: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="Bytes that are stored: tus' offset.")
    upload_expires_at: Mapped[datetime | None] = mapped_column(comment="`expires_at` of the model or dataset.")
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime] = mapped_column(index=True, comment="When it is given up, unless bytes arrive.")
    result_id: Mapped[UUID | None] = mapped_column(comment="The model or dataset it became.")
    error: Mapped[dict[str, Any] | None] = mapped_column(comment="Why it became none.")


class PartialUploadChunk(Base):
    """Up to a MiB of a file that arrives in parts; any chunk may be shorter. Stored as those of blobs are."""

    __tablename__ = "partial_upload_chunks"

    upload_id: Mapped[UUID] = mapped_column(ForeignKey("partial_uploads.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, comment="Offset of its first byte in the file.")
    data: Mapped[bytes]


class Job(Base):
    """A job. `attempt` guards every write of a worker: a worker that was given up cannot write any more."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({', '.join(repr(state) for state in STATES)})", name="state"),
        Index("uq_jobs_idempotency", "key_id", "idempotency_key", unique=True),
        Index("ix_jobs_newest", "owner_id", "queued_at", "id"),
        Index("ix_jobs_result", "owner_id", "result_key", postgresql_where=text("state = 'succeeded'")),
        Index("ix_jobs_state", "owner_id", "state", "queued_at", "id"),
        Index("ix_jobs_queue", "queued_at", "id", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_leases", "lease_until", postgresql_where=text("state IN ('running', 'cancelling')")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id"), server_default=FIRST_OWNER)
    name: Mapped[str | None]
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id"), index=True)
    calibration_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    evaluation_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    recipe: Mapped[dict[str, Any]]
    idempotency_key: Mapped[str | None] = mapped_column(comment="Unique among the jobs of one API key.")
    request_sha256: Mapped[str] = mapped_column(String(64), comment="Of the canonical request, for idempotency.")
    result_key: Mapped[str | None] = mapped_column(
        String(64), comment="sha-256 of model, data, recipe and version: jobs with the same one give the same result."
    )
    protocol: Mapped[int] = mapped_column(
        server_default="1", comment="What a worker must know to do it: store.protocol."
    )
    request_id: Mapped[str | None] = mapped_column(comment="Of the request that submitted it: joins the logs.")
    traceparent: Mapped[str | None] = mapped_column(comment="W3C trace context of that request.")
    expires_at: Mapped[datetime | None] = mapped_column(index=True, comment="When it is purged by itself.")

    state: Mapped[JobState] = mapped_column(String, server_default="queued")
    stage: Mapped[str | None]
    progress: Mapped[float] = mapped_column(server_default="0")
    message: Mapped[str] = mapped_column(server_default="")
    attempt: Mapped[int] = mapped_column(server_default="0")
    released: Mapped[int] = mapped_column(server_default="0", comment="Attempts handed back; they do not count.")
    worker_id: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    hinted_at: Mapped[datetime | None] = mapped_column(comment="When its hint was last published.")  # no longer read
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


class JobStatistic(Base):
    """Counts of ended jobs. They outlive the jobs, so that a purge does not turn a counter back."""

    __tablename__ = "job_statistics"

    method: Mapped[str] = mapped_column(primary_key=True)
    engine: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[JobState] = mapped_column(String, primary_key=True)
    bucket: Mapped[float] = mapped_column(
        primary_key=True, comment="Upper bound in seconds of the run; may be infinite."
    )
    jobs: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(comment="Of all of them together.")


class IdempotencyRecord(Base):
    """A request that carried an Idempotency-Key, and the answer that it got."""

    __tablename__ = "idempotency_records"

    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str | None] = mapped_column(String(64), comment="Of method, address and body; null before.")
    status: Mapped[int | None] = mapped_column(comment="Null while the request is being answered.")
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None]
    created_at: Mapped[datetime] = _now()
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True, comment="Renewed while it runs.")


class Webhook(Base):
    """An address that is told when a job ends."""

    __tablename__ = "webhooks"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id"), index=True)
    url: Mapped[str]
    secret: Mapped[str] = mapped_column(comment="`whsec_` and base64; it signs, so it cannot be kept as a hash.")
    events: Mapped[list[str]] = mapped_column(ARRAY(String), comment="`job.succeeded`, `job.failed`, `job.cancelled`.")
    created_at: Mapped[datetime] = _now()
    disabled_at: Mapped[datetime | None] = mapped_column(comment="Set when it has failed for too long.")


class WebhookDelivery(Base):
    """One message to one webhook, and how far it has come. Written with the change that it tells of."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_due", "next_at", postgresql_where=text("next_at IS NOT NULL")),
        Index("ix_webhook_deliveries_newest", "webhook_id", "created_at", "id"),
        Index(
            "ix_webhook_deliveries_failed",
            "created_at",
            postgresql_where=text("next_at IS NULL AND delivered_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    job_id: Mapped[UUID] = mapped_column(comment="No reference: the job may be purged before it is delivered.")
    event: Mapped[str]
    payload: Mapped[str] = mapped_column(comment="The very bytes that are signed.")
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime | None] = mapped_column(comment="Null: delivered, or given up.")
    created_at: Mapped[datetime] = _now()
    delivered_at: Mapped[datetime | None]
    status: Mapped[int | None] = mapped_column(comment="HTTP status of the last answer.")
    error: Mapped[str | None] = mapped_column(comment="Why the last attempt failed.")


class Worker(Base):
    """A worker process. One not seen for a lease is gone."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    slots: Mapped[int]
    engines: Mapped[list[Any]]
    sandbox: Mapped[list[Any]] = mapped_column(server_default="[]", comment="Which layers hold on its host.")
    protocol: Mapped[int] = mapped_column(server_default="1", comment="The newest kind of job that it can do.")
    started_at: Mapped[datetime] = _now()
    seen_at: Mapped[datetime] = _now()

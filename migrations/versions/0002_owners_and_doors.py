"""Owners, limits, sessions, resumable uploads, idempotency, webhooks, and what joins logs and figures.

Expands only: a worker or an API of the version before goes on with these tables, as the first owner.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FIRST_OWNER = "00000000-0000-0000-0000-000000000001"


def upgrade() -> None:
    _create_tables()
    _extend_tables()


def downgrade() -> None:
    _shrink_tables()
    _drop_tables()


def _create_tables() -> None:
    op.create_table(
        "owners",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_owners")),
        sa.UniqueConstraint("name", name=op.f("uq_owners_name")),
    )
    first = sa.text("INSERT INTO owners (id, name) VALUES (CAST(:id AS uuid), 'default')")
    op.execute(first.bindparams(id=FIRST_OWNER))
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True, comment="Null: the service itself, or its operator."),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.Column(
            "action",
            sa.String(),
            nullable=False,
            comment="What was done to what: `job.create`, `model.delete`, `key.revoke`.",
        ),
        sa.Column("subject_id", sa.String(), nullable=True, comment="Id of what it was done to."),
        sa.Column(
            "detail",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="Names and sizes; never content.",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_owner", "audit_log", ["owner_id", "id"], unique=False)
    op.create_index("ix_audit_log_subject", "audit_log", ["subject_id"], unique=False)
    op.create_table(
        "job_statistics",
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("engine", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("bucket", sa.Double(), nullable=False, comment="Upper bound in seconds of the run; may be infinite."),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False, comment="Of all of them together."),
        sa.PrimaryKeyConstraint("method", "engine", "state", "bucket", name=op.f("pk_job_statistics")),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column(
            "secret",
            sa.String(),
            nullable=False,
            comment="`whsec_` and base64; it signs, so it cannot be kept as a hash.",
        ),
        sa.Column(
            "events",
            postgresql.ARRAY(sa.String()),
            nullable=False,
            comment="`job.succeeded`, `job.failed`, `job.cancelled`.",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "disabled_at", sa.DateTime(timezone=True), nullable=True, comment="Set when it has failed for too long."
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name=op.f("fk_webhooks_owner_id_owners")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_owner_id"), "webhooks", ["owner_id"], unique=False)
    op.create_table(
        "browser_sessions",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_browser_sessions_key_id_api_keys"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_browser_sessions")),
    )
    op.create_index(op.f("ix_browser_sessions_key_id"), "browser_sessions", ["key_id"], unique=False)
    op.create_table(
        "idempotency_records",
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column(
            "request_sha256", sa.String(length=64), nullable=True, comment="Of method, address and body; null before."
        ),
        sa.Column("status", sa.Integer(), nullable=True, comment="Null while the request is being answered."),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Renewed while it runs.",
        ),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_idempotency_records_key_id_api_keys"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", "key", name=op.f("pk_idempotency_records")),
    )
    op.create_index(op.f("ix_idempotency_records_seen_at"), "idempotency_records", ["seen_at"], unique=False)
    op.create_table(
        "partial_uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False, comment="`model` or `dataset`."),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("metadata", sa.String(), server_default="", nullable=False, comment="The header, as it was sent."),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="Bytes of the whole file."),
        sa.Column(
            "received",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Bytes that are stored: tus' offset.",
        ),
        sa.Column(
            "upload_expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="`expires_at` of the model or dataset.",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it is given up, unless bytes arrive.",
        ),
        sa.Column("result_id", sa.Uuid(), nullable=True, comment="The model or dataset it became."),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment="Why it became none."),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_partial_uploads_key_id_api_keys")),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name=op.f("fk_partial_uploads_owner_id_owners")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partial_uploads")),
    )
    op.create_index(op.f("ix_partial_uploads_expires_at"), "partial_uploads", ["expires_at"], unique=False)
    op.create_index(op.f("ix_partial_uploads_owner_id"), "partial_uploads", ["owner_id"], unique=False)
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column(
            "job_id", sa.Uuid(), nullable=False, comment="No reference: the job may be purged before it is delivered."
        ),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("payload", sa.String(), nullable=False, comment="The very bytes that are signed."),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True, comment="Null: delivered, or given up."),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True, comment="HTTP status of the last answer."),
        sa.Column("error", sa.String(), nullable=True, comment="Why the last attempt failed."),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_webhook_id_webhooks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_index(
        "ix_webhook_deliveries_newest", "webhook_deliveries", ["webhook_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_webhook_deliveries_failed",
        "webhook_deliveries",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("next_at IS NULL AND delivered_at IS NULL"),
    )
    op.create_table(
        "partial_upload_chunks",
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False, comment="Offset of its first byte in the file."),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["partial_uploads.id"],
            name=op.f("fk_partial_upload_chunks_upload_id_partial_uploads"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("upload_id", "start", name=op.f("pk_partial_upload_chunks")),
    )
    op.execute("ALTER TABLE partial_upload_chunks ALTER COLUMN data SET STORAGE EXTERNAL")


def _extend_tables() -> None:
    op.add_column("api_keys", sa.Column("owner_id", sa.Uuid(), server_default=FIRST_OWNER, nullable=False))
    op.add_column(
        "api_keys",
        sa.Column("scopes", postgresql.ARRAY(sa.String()), server_default="{read,submit,admin}", nullable=False),
    )
    op.add_column(
        "api_keys",
        sa.Column("max_stored_bytes", sa.BigInteger(), nullable=True, comment="Null: the service's setting."),
    )
    op.add_column(
        "api_keys",
        sa.Column(
            "max_unfinished_jobs",
            sa.Integer(),
            nullable=True,
            comment="Queued and running. Null: the service's setting.",
        ),
    )
    op.add_column(
        "api_keys",
        sa.Column("max_requests_per_minute", sa.Integer(), nullable=True, comment="Null: the service's setting."),
    )
    op.add_column("api_keys", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_api_keys_owner_id"), "api_keys", ["owner_id"], unique=False)
    op.create_foreign_key(op.f("fk_api_keys_owner_id_owners"), "api_keys", "owners", ["owner_id"], ["id"])
    op.add_column("datasets", sa.Column("owner_id", sa.Uuid(), server_default=FIRST_OWNER, nullable=False))
    op.add_column(
        "datasets",
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True, comment="When it is deleted by itself."),
    )
    op.drop_index(op.f("uq_datasets_sha256"), table_name="datasets")
    op.drop_index(op.f("ix_datasets_newest"), table_name="datasets", postgresql_where="(deleted_at IS NULL)")
    op.create_index(
        "ix_datasets_newest",
        "datasets",
        ["owner_id", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_datasets_expires_at",
        "datasets",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index("ix_datasets_sha256", "datasets", ["sha256"], unique=False)
    op.create_index("uq_datasets_content", "datasets", ["owner_id", "sha256"], unique=True)
    op.create_foreign_key(op.f("fk_datasets_owner_id_owners"), "datasets", "owners", ["owner_id"], ["id"])
    op.add_column("jobs", sa.Column("owner_id", sa.Uuid(), server_default=FIRST_OWNER, nullable=False))
    op.add_column(
        "jobs",
        sa.Column(
            "result_key",
            sa.String(length=64),
            nullable=True,
            comment="sha-256 of model, data, recipe and version: jobs with the same one give the same result.",
        ),
    )
    op.add_column(
        "jobs",
        sa.Column(
            "protocol",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="What a worker must know to do it: store.protocol.",
        ),
    )
    op.add_column(
        "jobs",
        sa.Column(
            "request_id", sa.String(), nullable=True, comment="Of the request that submitted it: joins the logs."
        ),
    )
    op.add_column(
        "jobs", sa.Column("traceparent", sa.String(), nullable=True, comment="W3C trace context of that request.")
    )
    op.add_column(
        "jobs",
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True, comment="When it is purged by itself."),
    )
    op.drop_index(op.f("ix_jobs_newest"), table_name="jobs")
    op.create_index("ix_jobs_newest", "jobs", ["owner_id", "queued_at", "id"], unique=False)
    op.create_index(op.f("ix_jobs_expires_at"), "jobs", ["expires_at"], unique=False)
    op.create_index(
        "ix_jobs_result",
        "jobs",
        ["owner_id", "result_key"],
        unique=False,
        postgresql_where=sa.text("state = 'succeeded'"),
    )
    op.create_index("ix_jobs_state", "jobs", ["owner_id", "state", "queued_at", "id"], unique=False)
    op.create_foreign_key(op.f("fk_jobs_owner_id_owners"), "jobs", "owners", ["owner_id"], ["id"])
    op.add_column("models", sa.Column("owner_id", sa.Uuid(), server_default=FIRST_OWNER, nullable=False))
    op.add_column(
        "models",
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True, comment="When it is deleted by itself."),
    )
    op.drop_index(op.f("uq_models_sha256"), table_name="models")
    op.drop_index(op.f("ix_models_newest"), table_name="models", postgresql_where="(deleted_at IS NULL)")
    op.create_index(
        "ix_models_newest",
        "models",
        ["owner_id", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_models_expires_at", "models", ["expires_at"], unique=False, postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_index("ix_models_sha256", "models", ["sha256"], unique=False)
    op.create_index("uq_models_content", "models", ["owner_id", "sha256"], unique=True)
    op.create_foreign_key(op.f("fk_models_owner_id_owners"), "models", "owners", ["owner_id"], ["id"])
    op.add_column(
        "workers",
        sa.Column(
            "sandbox",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
            comment="Which layers hold on its host.",
        ),
    )
    op.add_column(
        "workers",
        sa.Column(
            "protocol",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="The newest kind of job that it can do.",
        ),
    )


def _shrink_tables() -> None:
    op.drop_column("workers", "protocol")
    op.drop_column("workers", "sandbox")
    op.drop_constraint(op.f("fk_models_owner_id_owners"), "models", type_="foreignkey")
    op.drop_index("uq_models_content", table_name="models")
    op.drop_index("ix_models_sha256", table_name="models")
    op.drop_index("ix_models_expires_at", table_name="models", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index("ix_models_newest", table_name="models", postgresql_where=sa.text("deleted_at IS NULL"))
    op.create_index(
        op.f("ix_models_newest"), "models", ["created_at", "id"], unique=False, postgresql_where="(deleted_at IS NULL)"
    )
    op.create_index(op.f("uq_models_sha256"), "models", ["sha256"], unique=True)
    op.drop_column("models", "expires_at")
    op.drop_column("models", "owner_id")
    op.drop_constraint(op.f("fk_jobs_owner_id_owners"), "jobs", type_="foreignkey")
    op.drop_index("ix_jobs_state", table_name="jobs")
    op.drop_index("ix_jobs_result", table_name="jobs", postgresql_where=sa.text("state = 'succeeded'"))
    op.drop_index(op.f("ix_jobs_expires_at"), table_name="jobs")
    op.drop_index("ix_jobs_newest", table_name="jobs")
    op.create_index(op.f("ix_jobs_newest"), "jobs", ["queued_at", "id"], unique=False)
    op.drop_column("jobs", "expires_at")
    op.drop_column("jobs", "traceparent")
    op.drop_column("jobs", "request_id")
    op.drop_column("jobs", "protocol")
    op.drop_column("jobs", "result_key")
    op.drop_column("jobs", "owner_id")
    op.drop_constraint(op.f("fk_datasets_owner_id_owners"), "datasets", type_="foreignkey")
    op.drop_index("uq_datasets_content", table_name="datasets")
    op.drop_index("ix_datasets_sha256", table_name="datasets")
    op.drop_index("ix_datasets_expires_at", table_name="datasets", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index("ix_datasets_newest", table_name="datasets", postgresql_where=sa.text("deleted_at IS NULL"))
    op.create_index(
        op.f("ix_datasets_newest"),
        "datasets",
        ["created_at", "id"],
        unique=False,
        postgresql_where="(deleted_at IS NULL)",
    )
    op.create_index(op.f("uq_datasets_sha256"), "datasets", ["sha256"], unique=True)
    op.drop_column("datasets", "expires_at")
    op.drop_column("datasets", "owner_id")
    op.drop_constraint(op.f("fk_api_keys_owner_id_owners"), "api_keys", type_="foreignkey")
    op.drop_index(op.f("ix_api_keys_owner_id"), table_name="api_keys")
    op.drop_column("api_keys", "expires_at")
    op.drop_column("api_keys", "max_requests_per_minute")
    op.drop_column("api_keys", "max_unfinished_jobs")
    op.drop_column("api_keys", "max_stored_bytes")
    op.drop_column("api_keys", "scopes")
    op.drop_column("api_keys", "owner_id")


def _drop_tables() -> None:
    op.drop_table("partial_upload_chunks")
    op.drop_index(
        "ix_webhook_deliveries_failed",
        table_name="webhook_deliveries",
        postgresql_where=sa.text("next_at IS NULL AND delivered_at IS NULL"),
    )
    op.drop_index("ix_webhook_deliveries_newest", table_name="webhook_deliveries")
    op.drop_index(
        "ix_webhook_deliveries_due", table_name="webhook_deliveries", postgresql_where=sa.text("next_at IS NOT NULL")
    )
    op.drop_table("webhook_deliveries")
    op.drop_index(op.f("ix_partial_uploads_owner_id"), table_name="partial_uploads")
    op.drop_index(op.f("ix_partial_uploads_expires_at"), table_name="partial_uploads")
    op.drop_table("partial_uploads")
    op.drop_index(op.f("ix_idempotency_records_seen_at"), table_name="idempotency_records")
    op.drop_table("idempotency_records")
    op.drop_index(op.f("ix_browser_sessions_key_id"), table_name="browser_sessions")
    op.drop_table("browser_sessions")
    op.drop_index(op.f("ix_webhooks_owner_id"), table_name="webhooks")
    op.drop_table("webhooks")
    op.drop_table("job_statistics")
    op.drop_index("ix_audit_log_subject", table_name="audit_log")
    op.drop_index("ix_audit_log_owner", table_name="audit_log")
    op.drop_table("audit_log")
    op.drop_table("owners")

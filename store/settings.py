"""The service's settings, from `OCTET_*` environment variables."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from pydantic import ValidationInfo

GIB = 2**30
HOUR = 3600.0


class Settings(BaseSettings):
    """Each field is the environment variable `OCTET_` plus its name."""

    model_config = SettingsConfigDict(env_prefix="OCTET_", env_ignore_empty=True, extra="ignore", frozen=True)

    database_url: str = Field(description="Postgres, for example `postgresql://user:password@host/octet`.")
    redis_url: str = Field(description="Redis, `redis://…` or `unix:///path`.")

    # The API
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, description="Port the API listens on; 0 takes a free one.")
    session_seconds: float = Field(12 * HOUR, gt=0, description="How long somebody stays signed in on the page.")
    idempotency_seconds: float = Field(
        24 * HOUR, gt=0, description="How long the answer to an idempotency key is kept."
    )

    # What one key may do, unless the key itself says otherwise
    max_stored_bytes: int | None = Field(None, gt=0, description="Models, data and artifacts of one owner.")
    max_unfinished_jobs: int | None = Field(1000, gt=0, description="Queued and running jobs of one owner.")
    max_requests_per_minute: int | None = Field(60_000, gt=0, description="Requests with one key.")

    # Uploads
    max_upload_bytes: int = Field(4 * GIB, gt=0, description="Largest body of an upload; more is answered with 413.")
    spool_dir: Path | None = Field(
        None, description="Where uploads wait while they are checked; default: the system's."
    )
    min_free_bytes: int = Field(
        GIB, ge=0, description="An upload that would leave less room than this where it waits is answered with 507."
    )
    body_idle_seconds: float = Field(60.0, gt=0, description="A body that stands still for so long gets a 408.")
    partial_upload_seconds: float = Field(
        24 * HOUR, gt=0, description="How long an upload in parts is kept after its last part."
    )

    # How long things are kept
    upload_retention_seconds: float | None = Field(
        None, gt=0, description="Models and data are deleted after so long, unless their upload says otherwise."
    )
    job_retention_seconds: float | None = Field(
        None, gt=0, description="Jobs are purged so long after they were submitted, unless the job says otherwise."
    )

    # Workers
    worker_slots: int = Field(1, ge=1, description="Jobs a worker runs at a time.")
    lease_seconds: float = Field(20.0, gt=0, description="A worker not heard of for so long has lost its job.")
    heartbeat_seconds: float = Field(
        1.0, gt=0, description="How often a worker renews the lease of its job, and sees whether it was cancelled."
    )
    reconcile_seconds: float = Field(5.0, gt=0, description="How often queued jobs and lost leases are looked for.")
    grace_seconds: float = Field(
        10.0, ge=0, description="How long a worker that is asked to stop lets its jobs go on before it hands them back."
    )

    # A job's process
    max_attempts: int = Field(3, ge=1, description="How often a job is started before it is given up.")
    job_timeout_seconds: float = Field(3600.0, gt=0, description="Wall time of one attempt; a recipe may ask for less.")
    job_memory_bytes: int = Field(16 * GIB, gt=0, description="Memory a job's process may allocate.")
    job_scratch_bytes: int = Field(32 * GIB, gt=0, description="What a job may have on disk at a time.")
    job_threads: int | None = Field(None, ge=1, description="CPU threads of a job; default: all this machine has.")
    job_nice: int = Field(10, ge=0, le=19, description="How far a job stands back behind the API; 0: not at all.")

    # Webhooks
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description='Networks that webhooks may reach although they are not public, such as `["10.0.0.0/8"]`.'
    )

    @field_validator("heartbeat_seconds", "reconcile_seconds")
    @classmethod
    def _within_a_lease(cls, seconds: float, info: ValidationInfo) -> float:
        # A lease that ran out between two renewals would lose every job of every healthy worker.
        lease = info.data.get("lease_seconds", seconds)
        if seconds > lease / 2:
            msg = f"{seconds:g} is more than half of OCTET_LEASE_SECONDS, {lease:g}"
            raise ValueError(msg)
        return seconds

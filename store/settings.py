"""The service's settings, from `OCTET_*` environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from pydantic import ValidationInfo

GIB = 2**30


class Settings(BaseSettings):
    """Each field is the environment variable `OCTET_` plus its name."""

    model_config = SettingsConfigDict(env_prefix="OCTET_", env_ignore_empty=True, extra="ignore", frozen=True)

    database_url: str = Field(description="Postgres, for example `postgresql://user:password@host/octet`.")
    redis_url: str = Field(description="Redis, `redis://…` or `unix:///path`.")

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, description="Port the API listens on; 0 takes a free one.")
    max_upload_bytes: int = Field(4 * GIB, gt=0, description="Largest body of an upload; more is answered with 413.")
    spool_dir: Path | None = Field(
        None, description="Where uploads wait while they are checked; default: the system's."
    )

    worker_slots: int = Field(1, ge=1, description="Jobs a worker runs at a time.")
    lease_seconds: float = Field(30.0, gt=0, description="A worker not heard of for so long has lost its job.")
    heartbeat_seconds: float = Field(
        1.0, gt=0, description="How often a worker renews the lease of its job, and sees whether it was cancelled."
    )
    reconcile_seconds: float = Field(10.0, gt=0, description="How often lost hints and lost leases are looked for.")
    max_attempts: int = Field(3, ge=1, description="How often a job is started before it is given up.")
    job_timeout_seconds: float = Field(3600.0, gt=0, description="Wall time of one attempt.")
    job_memory_bytes: int = Field(16 * GIB, gt=0, description="Memory a job's process may allocate.")
    job_threads: int | None = Field(None, ge=1, description="CPU threads of a job; default: all this machine has.")

    @field_validator("heartbeat_seconds", "reconcile_seconds")
    @classmethod
    def _within_a_lease(cls, seconds: float, info: ValidationInfo) -> float:
        # A lease that ran out between two renewals would lose every job of every healthy worker.
        lease = info.data.get("lease_seconds", seconds)
        if seconds > lease / 2:
            msg = f"{seconds:g} is more than half of OCTET_LEASE_SECONDS, {lease:g}"
            raise ValueError(msg)
        return seconds

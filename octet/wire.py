"""What travels between a client and the service: one definition for both sides.

The API answers with these types and the client reads them. They are free of torch. All times are UTC, from the
service's database.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar, get_args
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from octet.progress import Stage
from octet.recipe import Recipe
from octet.report import Metric
from octet.spec import ArraySpec, Layer, TensorSpec

JobState = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
FINISHED: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})

T = TypeVar("T")


class _Message(BaseModel):
    # A client one version older than its service must still read the answers, so unknown keys are let through here.
    model_config = ConfigDict(extra="ignore")


class Page(_Message, Generic[T]):
    """Part of a list, newest first."""

    data: list[T]
    has_more: bool = Field(description="Whether older entries follow.")
    next: str | None = Field(None, description="Pass it as `after` to get the entries that follow.")


class Model(_Message):
    """An uploaded `.pt2`."""

    id: UUID
    name: str = Field(description="A label; it need not be unique.")
    sha256: str
    size: int = Field(description="Bytes.")
    created_at: datetime
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    expires_at: datetime | None = Field(None, description="When it is deleted by itself.")
    parameters: int
    torch_version: str = Field(description="The torch that exported it.")
    notes: list[str] = Field([], description="What became of it as it was read, such as a change of precision.")


class ModelLayers(_Message):
    """The layers of a model, under the paths its author gave them (what recipes' rules match), and their outlook."""

    data: list[Layer]


class Dataset(_Message):
    """An uploaded `.safetensors` or `.npz`."""

    id: UUID
    name: str
    sha256: str
    size: int = Field(description="Bytes.")
    created_at: datetime
    expires_at: datetime | None = Field(None, description="When it is deleted by itself.")
    samples: int
    arrays: dict[str, ArraySpec]


class JobCreate(BaseModel):
    """A job to do. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")

    model: UUID = Field(description="Id of an uploaded model.")
    recipe: Recipe = Field(description="What to do; every key has a default.")
    calibration: UUID | None = Field(None, description="Id of the dataset that activation ranges come from.")
    evaluation: UUID | None = Field(None, description="Id of the dataset that accuracy is measured on.")
    name: str | None = Field(None, max_length=200, description="A label.")
    reuse: bool = Field(
        False, description="Take the result of an earlier job with the same model, data, recipe and version, if any."
    )
    expires_at: AwareDatetime | None = Field(
        None, description="When the job and all it made are purged; default: by the service's settings."
    )


class JobError(_Message):
    """Why a job failed."""

    code: str = Field(description="Stable identifier, as in `octet.errors`.")
    message: str
    hint: str | None = None


class Job(_Message):
    """A job and how far it has come."""

    id: UUID
    name: str | None
    state: JobState
    stage: Stage | None = Field(None, description="What the worker is doing; null before it starts.")
    progress: float = Field(0.0, description="Share of the work that is done, 0 to 1.")
    message: str = ""
    queue_position: int | None = Field(
        None, description="Jobs of the same owner that will start before this one; null once started."
    )
    attempt: int = Field(0, description="How many workers have started it.")
    model: UUID
    recipe: Recipe
    calibration: UUID | None
    evaluation: UUID | None
    verdict: Literal["passes", "fails"] | None = Field(None, description="Whether every gate of the recipe held.")
    metrics: list[Metric] = []
    error: JobError | None = None
    expires_at: datetime | None = Field(None, description="When it is purged with all it made.")
    queued_at: datetime
    running_at: datetime | None = None
    cancelling_at: datetime | None = None
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None
    cancelled_at: datetime | None = None

    @property
    def finished(self) -> bool:
        """Whether the state can no longer change."""
        return self.state in FINISHED


class JobCheck(_Message):
    """The answer to a job that was only validated."""

    valid: Literal[True] = True
    recipe: Recipe = Field(description="The recipe with every default filled in.")


class Event(_Message):
    """Something that happened to a job."""

    id: int
    at: datetime
    kind: Literal["state", "progress"]
    state: JobState
    stage: Stage | None = None
    progress: float = 0.0
    message: str = ""
    attempt: int = 0


class Artifact(_Message):
    """A file that a job made."""

    id: UUID
    job: UUID
    name: str = Field(description="File name, for example `model.pt`.")
    media_type: str
    sha256: str
    size: int = Field(description="Bytes.")
    created_at: datetime


class EngineInfo(_Message):
    """A kernel library a recipe may name."""

    name: str
    summary: str
    architectures: list[str]
    cpu_flags: list[str] = Field(description="What the deploy CPU must have; `a|b`: either.")
    reduce_range: bool = Field(description="Whether 7-bit activations are its default.")


class SandboxLayer(_Message):
    """One thing that keeps a job's process from what it has no need of."""

    name: str = Field(description="For example `seccomp` or `landlock`.")
    holds: bool = Field(description="Whether it holds on this host: tried, not assumed.")
    detail: str = Field("", description="What it does, or why it does not hold.")


class Worker(_Message):
    """A worker that has been heard of lately."""

    id: UUID
    host: str
    pid: int
    version: str
    slots: int = Field(description="How many jobs it runs at a time.")
    jobs: list[UUID] = Field(description="What it is running now.")
    engines: list[str] = Field(description="Engines its torch has.")
    sandbox: list[SandboxLayer] = Field([], description="What stands between a job and the host it runs on.")
    protocol: int = Field(1, description="The newest kind of job that it can do.")
    started_at: datetime
    seen_at: datetime


class Health(_Message):
    """Whether the service can take and run jobs."""

    status: Literal["ok", "degraded"]
    checks: dict[str, str] = Field(description="Each part, `ok` or what is wrong with it.")


Scope = Literal["read", "submit", "admin"]


class KeyInfo(_Message):
    """The key that a request is made with, and what is left of what it may use."""

    id: UUID
    name: str
    owner: str = Field(description="Whom everything made with it belongs to.")
    scopes: list[Scope]
    expires_at: datetime | None = None
    stored_bytes: int = Field(description="What the owner's models, data and artifacts take.")
    max_stored_bytes: int | None = Field(None, description="Null: no limit.")
    unfinished_jobs: int = Field(description="The owner's queued and running jobs.")
    max_unfinished_jobs: int | None = Field(None, description="Null: no limit.")
    max_requests_per_minute: int | None = Field(None, description="Null: no limit.")


class SessionCreate(BaseModel):
    """Signing in on the page. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=200, description="An API key.")


class AuditEntry(_Message):
    """Who did what."""

    id: int
    at: datetime
    owner_id: UUID | None = Field(None, description="Null: the service itself, or its operator.")
    key_id: UUID | None = None
    request_id: str | None = None
    action: str = Field(description="What was done to what, for example `job.create`.")
    subject_id: str | None = None
    detail: dict[str, Any] = {}


class PartialUpload(_Message):
    """A file that arrives in parts (tus 1.0)."""

    id: UUID
    kind: Literal["model", "dataset"]
    name: str | None = None
    size: int = Field(description="Bytes of the whole file.")
    received: int = Field(description="Bytes that have arrived.")
    created_at: datetime
    expires_at: datetime = Field(description="When it is given up, unless bytes arrive.")
    result: UUID | None = Field(None, description="Id of the model or dataset it became.")


JobEnd = Literal["job.succeeded", "job.failed", "job.cancelled"]


class WebhookCreate(BaseModel):
    """An address to tell when jobs end. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(max_length=2000, description="`https://…`; its host must have a public address.")
    events: list[JobEnd] = Field(list(get_args(JobEnd)), min_length=1, description="Which ends to tell of.")


class Webhook(_Message):
    """An address that is told when jobs end."""

    id: UUID
    url: str
    events: list[JobEnd]
    created_at: datetime
    disabled_at: datetime | None = Field(None, description="Set when it has failed for too long.")
    secret: str | None = Field(None, description="What signatures are made with; shown once, when it is made.")


class WebhookDelivery(_Message):
    """One message to one webhook."""

    id: UUID = Field(description="The `webhook-id` of every attempt.")
    job: UUID
    event: JobEnd
    attempts: int
    created_at: datetime
    next_at: datetime | None = Field(None, description="When it is tried again; null: delivered, or given up.")
    delivered_at: datetime | None = None
    status: int | None = Field(None, description="HTTP status of the last answer.")
    error: str | None = Field(None, description="Why the last attempt failed.")


class EndedJob(_Message):
    """A job that has ended, in brief."""

    id: UUID
    name: str | None
    state: JobState
    verdict: Literal["passes", "fails"] | None = None
    error: JobError | None = None
    links: dict[str, str] = Field(description="Where to read more, as paths on the service.")


class JobEnded(_Message):
    """What a webhook receives. The same `webhook-id` may come twice: it is the same message."""

    type: JobEnd
    timestamp: datetime = Field(description="When the job ended.")
    data: EndedJob


class ProblemField(_Message):
    """One offending place of a request."""

    pointer: str = Field("", description="RFC 6901 JSON pointer into the body; empty where it is not in the body.")
    parameter: str | None = Field(None, description="Name of the query parameter or header, where it is one.")
    detail: str
    hint: str | None = None


class Problem(_Message):
    """An error, as RFC 9457 `application/problem+json`."""

    type: str = Field(description="Stable identifier, `urn:octet:error:` and the error's code.")
    title: str
    status: int
    detail: str
    hint: str | None = Field(None, description="What to do about it.")
    errors: list[ProblemField] = []
    state: JobState | None = Field(None, description="State of the job, where that stands against the request.")

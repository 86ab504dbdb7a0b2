"""The service, as one object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar
from uuid import UUID

from pydantic import BaseModel

from octet.client.job import JobHandle
from octet.client.transport import Transport, read
from octet.client.upload import FileBody, upload
from octet.recipe import Preset, Recipe
from octet.wire import (
    Dataset,
    EngineInfo,
    Health,
    Job,
    JobCheck,
    JobEnd,
    JobState,
    KeyInfo,
    Model,
    ModelLayers,
    Page,
    Webhook,
    WebhookDelivery,
    Worker,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from octet.client.upload import Kind, OnBytes
    from octet.spec import Layer

ModelRef: TypeAlias = Model | UUID | str
DatasetRef: TypeAlias = Dataset | UUID | str
JobRef: TypeAlias = Job | JobHandle | UUID | str
WebhookRef: TypeAlias = Webhook | UUID | str

M = TypeVar("M", bound=BaseModel)


class Client:
    """A client of the service. A context manager; safe to share between threads.

    Args:
        url: Where the service is; default: `OCTET_URL`, else `http://127.0.0.1:8000`.
        key: An API key; default: `OCTET_API_KEY`.
        timeout: Seconds the service may stay silent.
        patience: Seconds for which every call does as a service asks that wants a pause, and waiting for a job,
            following it, downloading and large uploads bear one that does not answer, as when it is restarted.

    Every call raises `ServiceError` if the service refuses, and `ServiceUnreachableError` if it does not answer. What
    can be repeated without harm is tried again when a connection drops, and where the service asks for a pause.

    Example:
        >>> with Client() as client:  # doctest: +SKIP
        ...     model = client.upload_model("model.pt2")
        ...     job = client.submit(model, Recipe(method="dynamic"))
        ...     job.wait()
        ...     job.download("out")
    """

    def __init__(
        self, url: str | None = None, key: str | None = None, timeout: float = 30.0, patience: float = 60.0
    ) -> None:
        self._transport = Transport(url, key, timeout, patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._transport.url

    def upload_model(
        self,
        path: str | Path,
        name: str | None = None,
        on_progress: OnBytes | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> Model:
        """Upload a `.pt2`. The same bytes again give the same model. A large one goes on where a line broke.

        Args:
            path: The file; it is streamed.
            name: A label; default: the file's name.
            on_progress: Called with the bytes sent and the bytes in all.
            expires_at: When it is deleted by itself, with its zone; default: by the service's settings.
        """
        return self._upload(Model, "model", path, name, on_progress, expires_at)

    def upload_dataset(
        self,
        path: str | Path,
        name: str | None = None,
        on_progress: OnBytes | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> Dataset:
        """Upload a `.safetensors` or `.npz`. The same bytes again give the same dataset. A large one goes on likewise.

        Args:
            path: The file; it is streamed.
            name: A label; default: the file's name.
            on_progress: Called with the bytes sent and the bytes in all.
            expires_at: When it is deleted by itself, with its zone; default: by the service's settings.
        """
        return self._upload(Dataset, "dataset", path, name, on_progress, expires_at)

    def _upload(  # noqa: PLR0917 - what `upload_model` and `upload_dataset` take, in their order
        self,
        answer: type[M],
        kind: Kind,
        path: str | Path,
        name: str | None,
        on_progress: OnBytes | None,
        expires_at: datetime | None,
    ) -> M:
        body = FileBody(path, on_progress)
        return read(answer, upload(self._transport, kind, body, name or body.path.name, expires_at))

    def models(self) -> Iterator[Model]:
        """Every model, newest first; pages are fetched as they are reached."""
        return self._pages(Model, "models")

    def datasets(self) -> Iterator[Dataset]:
        """Every dataset, newest first; pages are fetched as they are reached."""
        return self._pages(Dataset, "datasets")

    def jobs(self, status: JobState | None = None) -> Iterator[Job]:
        """Every job, or those in one state, newest first; pages are fetched as they are reached."""
        return self._pages(Job, "jobs", status=status)

    def _pages(self, kind: type[M], path: str, **params: Any) -> Iterator[M]:
        after = None
        while True:
            page = self._transport.get(Page[kind], path, after=after, **params)  # type: ignore[valid-type]  # a generic model, made at run time
            yield from page.data
            if not page.has_more:
                return
            after = page.next

    def model(self, model_id: UUID | str) -> Model:
        """The model of that id."""
        return self._transport.get(Model, f"models/{model_id}")

    def layers(self, model: ModelRef) -> list[Layer]:
        """The layers of a model, under the paths its author gave them: what a recipe's layer rules match."""
        return self._transport.get(ModelLayers, f"models/{_id(model)}/layers").data

    def delete_model(self, model: ModelRef, *, purge: bool = False) -> None:
        """Delete a model. It is refused while a job still needs it.

        Args:
            model: Which.
            purge: Delete all jobs that used it as well, with all they made; otherwise they stay.
        """
        self._transport.delete(f"models/{_id(model)}", purge=purge)

    def dataset(self, dataset_id: UUID | str) -> Dataset:
        """The dataset of that id."""
        return self._transport.get(Dataset, f"datasets/{dataset_id}")

    def delete_dataset(self, dataset: DatasetRef, *, purge: bool = False) -> None:
        """Delete a dataset. It is refused while a job still needs it.

        Args:
            dataset: Which.
            purge: Delete all jobs that used it as well, with all they made; otherwise they stay.
        """
        self._transport.delete(f"datasets/{_id(dataset)}", purge=purge)

    def submit(
        self,
        model: ModelRef,
        recipe: Recipe | Mapping[str, Any],
        calibration: DatasetRef | None = None,
        evaluation: DatasetRef | None = None,
        *,
        name: str | None = None,
        reuse: bool = False,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> JobHandle:
        """Queue a job.

        Args:
            model: What to quantize.
            recipe: How; a mapping may leave out what has a default.
            calibration: Data that activation ranges are taken from.
            evaluation: Data that accuracy is measured on.
            name: A label.
            reuse: Take a job of yours that has succeeded already with the same model, data, recipe and version, if
                there is one.
            expires_at: When the job is purged by itself, with its zone; default: by the service's settings.
            idempotency_key: The same key again gives the same job; default: one for this call, so that a request that
                is repeated after a dropped connection never makes two jobs.
        """
        more = {"name": name, "reuse": reuse, "expires_at": None if expires_at is None else expires_at.isoformat()}
        response = self._transport.send(
            "POST",
            "jobs",
            json={**_job(model, recipe, calibration, evaluation), **more},
            headers={"Idempotency-Key": idempotency_key.encode()} if idempotency_key else {},
        )
        return JobHandle(self._transport, read(Job, response).id)

    def validate(
        self,
        model: ModelRef,
        recipe: Recipe | Mapping[str, Any],
        calibration: DatasetRef | None = None,
        evaluation: DatasetRef | None = None,
    ) -> JobCheck:
        """Check a job as `submit` would, and queue nothing."""
        body = _job(model, recipe, calibration, evaluation)
        params = {"validate_only": "true"}
        return read(JobCheck, self._transport.send("POST", "jobs", params=params, json=body))

    def job(self, job_id: UUID | str) -> JobHandle:
        """The job of that id; nothing is asked of the service yet."""
        return JobHandle(self._transport, job_id if isinstance(job_id, UUID) else UUID(job_id))

    def delete_job(self, job: JobRef) -> None:
        """Purge a job that has ended: its report, figures and events, and its artifacts with their bytes."""
        self._transport.delete(f"jobs/{_id(job)}")

    def webhooks(self) -> Iterator[Webhook]:
        """Every webhook, newest first; pages are fetched as they are reached."""
        return self._pages(Webhook, "webhooks")

    def create_webhook(self, url: str, events: Sequence[JobEnd] | None = None) -> Webhook:
        """Have an address told when jobs end. The webhook's secret is in this answer alone.

        A receiver checks a message with the package standardwebhooks, `Webhook(secret).verify(body, headers)`, and
        reads it with `octet.wire.JobEnded.model_validate_json(body)`.

        Args:
            url: Where messages are sent; its host must have a public address.
            events: Which ends to tell of; default: every one.
        """
        asked = {"url": url} if events is None else {"url": url, "events": list(events)}
        return read(Webhook, self._transport.send("POST", "webhooks", json=asked))

    def delete_webhook(self, webhook: WebhookRef) -> None:
        """Tell an address nothing more."""
        self._transport.delete(f"webhooks/{_id(webhook)}")

    def webhook_deliveries(self, webhook: WebhookRef) -> Iterator[WebhookDelivery]:
        """What a webhook was told, and is yet to be told, newest first; pages are fetched as they are reached."""
        return self._pages(WebhookDelivery, f"webhooks/{_id(webhook)}/deliveries")

    def engines(self) -> list[EngineInfo]:
        """The engines a recipe may name."""
        return self._transport.get(list[EngineInfo], "engines")

    def recipes(self) -> list[Preset]:
        """The recipes that come with Octet."""
        return self._transport.get(list[Preset], "recipes")

    def workers(self) -> list[Worker]:
        """The workers heard of lately."""
        return self._transport.get(list[Worker], "workers")

    def key_info(self) -> KeyInfo:
        """The key that this client calls with: whose it is, what it is for, and what is left of what it may use."""
        return self._transport.get(KeyInfo, "key")

    def health(self) -> Health:
        """Whether the service can take and run jobs; `degraded` is an answer, not an error."""
        return read(Health, self._transport.send("GET", "health/ready", answers=frozenset({503})))


def _job(
    model: ModelRef,
    recipe: Recipe | Mapping[str, Any],
    calibration: DatasetRef | None,
    evaluation: DatasetRef | None,
) -> dict[str, Any]:
    """The body of `POST /jobs`."""
    return {
        "model": _id(model),
        "recipe": recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else dict(recipe),
        "calibration": None if calibration is None else _id(calibration),
        "evaluation": None if evaluation is None else _id(evaluation),
    }


def _id(reference: Model | Dataset | Job | JobHandle | Webhook | UUID | str) -> str:
    return str(reference if isinstance(reference, UUID | str) else reference.id)

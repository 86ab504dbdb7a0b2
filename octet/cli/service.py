"""Commands that speak to the service. None of them loads torch."""

from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import UUID

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from octet.cli import bars, render
from octet.cli.app import (
    AllLayers,
    AsJson,
    EngineName,
    Key,
    MethodName,
    RecipeName,
    Url,
    answer,
    chosen_recipe,
    require_gates,
)
from octet.client import Client, JobHandle
from octet.report import Report
from octet.wire import Dataset, Job, JobState, Model

JobId = Annotated[UUID, typer.Argument(metavar="JOB", help="The job's id.")]
Upload = TypeVar("Upload", Model, Dataset)


def submit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A `.pt2` file, or the id of an uploaded model.")],
    *,
    recipe: RecipeName = None,
    method: MethodName = None,
    engine: EngineName = None,
    calibration: Annotated[str | None, typer.Option(help="Data file or dataset id that ranges are taken from.")] = None,
    evaluation: Annotated[str | None, typer.Option(help="Data file or dataset id to measure accuracy on.")] = None,
    name: Annotated[str | None, typer.Option(help="A label for the job.")] = None,
    reuse: Annotated[bool, typer.Option("--reuse", help="Take the result of an earlier job that is the same.")] = False,
    follow: Annotated[bool, typer.Option("--wait", help="Wait until the job has finished.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Upload what is not there yet, and queue a job."""
    chosen = chosen_recipe(recipe, method, engine)
    with Client(url, key) as client:
        job = client.submit(
            _reference(model, client.upload_model),
            chosen,
            calibration=None if calibration is None else _reference(calibration, client.upload_dataset),
            evaluation=None if evaluation is None else _reference(evaluation, client.upload_dataset),
            name=name,
            reuse=reuse,
        )
        if follow:
            _follow(job, None, as_json=as_json)
        else:
            _show(job.refresh(), None, as_json=as_json)


def jobs(
    status: Annotated[JobState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with Client(url, key) as client:
        listed = list(islice(client.jobs(status), limit))
    answer(listed, lambda: render.jobs(listed), as_json=as_json)


def show(
    job: JobId,
    layers: AllLayers = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show a job and, once it has succeeded, its figures."""
    with Client(url, key) as client:
        handle = client.job(job)
        shown = handle.refresh()
        report = handle.report() if shown.state == "succeeded" else None
    _show(shown, report, layers=layers, as_json=as_json)


def wait(
    job: JobId,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Wait until a job has finished, and show its figures."""
    with Client(url, key) as client:
        _follow(client.job(job), timeout, as_json=as_json)


def cancel(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Cancel a job."""
    with Client(url, key) as client:
        _show(client.job(job).cancel(), None, as_json=as_json)


def download(
    job: JobId,
    names: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="Only these files.")] = None,
    *,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Directory.", show_default="octet-JOB")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the files a job made. What broke off goes on where it was, and every file is checked."""
    directory = output or Path(f"octet-{job}")
    with Client(url, key) as client, bars.transfer("download") as on_progress:
        paths = client.job(job).download(directory, names or None, on_progress)
    answer([str(path) for path in paths], lambda: Text("\n".join(map(str, paths))), as_json=as_json)


def _reference(given: str, upload: Callable[..., Upload]) -> Upload | UUID:
    """The id that was given, or what becomes of the file that was."""
    with suppress(ValueError):
        return UUID(given)
    with bars.transfer(f"upload {Path(given).name}") as on_progress:
        return upload(given, on_progress=on_progress)


def _follow(handle: JobHandle, timeout: float | None, *, as_json: bool) -> None:
    with bars.job("job") as on_update:
        done = handle.wait(timeout, on_update)
    report = handle.report()
    _show(done, report, as_json=as_json)
    require_gates(report)


def _show(shown: Job, report: Report | None, *, layers: bool = False, as_json: bool) -> None:
    def tables() -> RenderableType:
        parts = [render.job(shown)]
        if report is not None:
            parts += ["", render.result(report, layers=layers)]
        return Group(*parts)

    answer({"job": shown, "report": report}, tables, as_json=as_json)

"""Progress bars: on standard error, and only where a person watches it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octet.progress import OnProgress
    from octet.progress import Progress as Step
    from octet.wire import Job

_LONGEST_BAR = 40


def _progress(*columns: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        # The bar takes what the line before it leaves: that one may end in how long it will still take.
        BarColumn(bar_width=None, table_column=Column(max_width=_LONGEST_BAR)),
        *columns,
        console=console,
        disable=not console.is_terminal,
    )


@contextmanager
def transfer(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for bytes: call what it gives with the bytes done and the bytes in all."""
    with _progress(DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def steps(description: str) -> Iterator[OnProgress]:
    """A bar for a job that runs in this process."""
    with _progress(TaskProgressColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task(description, total=1.0)

        def show(step: Step) -> None:
            progress.update(task, completed=step.fraction, description=_line(description, step.stage, step.message))

        yield show


@contextmanager
def job(description: str) -> Iterator[Callable[[Job], None]]:
    """A bar for a job that runs in the service."""
    with _progress(TaskProgressColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task(description, total=1.0)

        def show(job: Job) -> None:
            fraction = 1.0 if job.state == "succeeded" else job.progress
            line = _line(description, job.stage or job.state, job.message)
            progress.update(task, completed=fraction, description=line)

        yield show


def _line(description: str, stage: str, message: str) -> str:
    return f"{description}: {stage} {message}".rstrip()

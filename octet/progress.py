"""How far a job has come, as told to `on_progress`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["load", "prepare", "calibrate", "train", "convert", "measure", "save", "verify"]


class Progress(BaseModel):
    """One step of a job.

    Attributes:
        stage: What is being done.
        fraction: Share of the whole job that is done, from 0 to 1; it never goes back.
        message: One line for people, for example "batch 3 of 16".
    """

    model_config = ConfigDict(frozen=True)

    stage: Stage
    fraction: float = Field(ge=0.0, le=1.0)
    message: str = ""


OnProgress = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """The listener of those who do not listen."""

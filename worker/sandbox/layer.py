"""What a layer of the sandbox is, and the room that all of them make together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from collections.abc import Callable


class Limits(BaseModel):
    """What a job's process may use. The kernel sees to all but the last, at which the runner looks now and then."""

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int = Field(description="Size of the largest file that it may write.")
    scratch_bytes: int = Field(description="What it may have on disk at a time.")


class Room(BaseModel):
    """What there is for the processes of a slot. The runner, who knows the host, says so."""

    home: Path = Field(description="The slot's own directory; each job has one in it.")
    readable: list[Path] = Field(description="What Python, torch and we ourselves are made of.")
    devices: list[Path] = Field(description="Devices that may be used.")
    lock: Path = Field(description="What lets one job at a time measure on this machine; one of the readable files.")
    limits: Limits
    threads: int
    tasks: int = Field(description="Threads that its user may have in all.")
    nice: int
    uid: int | None = Field(description="Whose processes they are to be; None: the runner's own user's.")
    stays: str = Field("", description="Why they stay root's, should they have to.")
    outside: dict[str, str] = Field(description="The runner's namespaces: what must not be found inside.")
    wrapped: bool = Field(False, description="Whether bubblewrap has made the namespaces.")
    shared: str = Field("", description="Why there are none, should there be none.")


@dataclass(frozen=True)
class Occupant:
    """One process in it."""

    room: Room
    scratch: Path
    parent: int


@dataclass(frozen=True)
class Layer:
    """One thing that keeps a job's process from what it has no need of.

    Attributes:
        name: For people.
        put_up: Puts it around the calling process, for good; gives what it does, in a phrase. Raises OSError where the
            platform does not have it.
        get_past: Tries what it forbids. Raises OSError if it holds.
    """

    name: str
    put_up: Callable[[Occupant], str]
    get_past: Callable[[Occupant], object]

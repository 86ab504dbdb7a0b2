"""What a runner and its child say to each other: one JSON document per line, over a socket pair."""

from __future__ import annotations

import select
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from octet.progress import Progress
from octet.recipe import Recipe
from octet.wire import JobError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

MAX_LINE = 64 * 1024  # what a child says is short; anything longer is not the protocol


class Limits(BaseModel):
    """What a job's process may use; each becomes a resource limit of the process."""

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int = Field(description="Size of the largest file it may write.")


class Assignment(BaseModel):
    """The one document that a child is given: where its files are, and what to do with them."""

    model: Path
    calibration: Path | None
    evaluation: Path | None
    recipe: Recipe
    output: Path = Field(description="Directory for the artifacts; the child makes it.")
    checkpoint: Path = Field(description="Where training keeps its progress, and what it goes on from if it is there.")
    limits: Limits


class Ready(BaseModel):
    """Torch is warm: an assignment would start at once."""

    kind: Literal["ready"] = "ready"
    engines: list[str] = Field(description="Engines that this torch was built with.")


class Advanced(BaseModel):
    """The job has come further."""

    kind: Literal["advanced"] = "advanced"
    progress: Progress


class Checkpointed(BaseModel):
    """The checkpoint has been replaced by one that is further."""

    kind: Literal["checkpointed"] = "checkpointed"


class Failed(BaseModel):
    """The job cannot be done."""

    kind: Literal["failed"] = "failed"
    error: JobError


class Finished(BaseModel):
    """The artifacts are in place."""

    kind: Literal["finished"] = "finished"


INTERNAL_ERROR = JobError(
    code="internal_error",
    message="Something inside Octet went wrong that it has no words for.",
    hint="The worker's log has the details, under this job's id.",
)

Message = Annotated[Ready | Advanced | Checkpointed | Failed | Finished, Field(discriminator="kind")]
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


class ProtocolError(Exception):
    """The child said something that is not the protocol."""


class Channel:
    """The runner's end. Readable, in the sense of `select`, when the child has spoken or is gone."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._rest = b""

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def readable(self) -> bool:
        """Whether `receive()` would answer at once."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def assign(self, assignment: Assignment) -> None:
        """Hand the job over. A child that is still loading torch finds it when it is ready.

        Raises:
            OSError: If the child is gone.
        """
        self._socket.sendall(assignment.model_dump_json().encode() + b"\n")

    def receive(self) -> Iterator[Message]:
        """What the child has said since the last call; blocks only if it has said nothing.

        Raises:
            EOFError: If the child is gone.
            ProtocolError: If it does not keep to the protocol.
        """
        try:
            data = self._socket.recv(MAX_LINE)
        except ConnectionResetError:
            data = b""
        if not data:
            raise EOFError
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            msg = "a line without end"
            raise ProtocolError(msg)
        for line in lines:
            try:
                yield _MESSAGE.validate_json(line)
            except ValidationError as error:
                raise ProtocolError(str(error)) from error

    def close(self) -> None:
        """Hang up: a child that still lives ends itself."""
        self._socket.close()

"""What a runner says to a warm process and to a job's child, and they to it: one JSON document per line.

The warm process is ours, and answers each request before the next. The child is not trusted: what it says is short and
typed, and concerns its own job alone.
"""

from __future__ import annotations

import select
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from octet.progress import Progress
from octet.recipe import Recipe
from octet.wire import JobError, SandboxLayer

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
MAX_MESSAGE = 500  # characters of the one line for people
MAX_LINE = 64 * 1024  # what a child says is short; anything longer is not the protocol


class Warmed(BaseModel):
    """The warm process has loaded torch: from now on it answers."""

    engines: list[str] = Field(description="Engines that this torch was built with.")


class Fork(BaseModel):
    """Asks for a child. With it come two descriptors: the child's end of its channel, and its log."""

    kind: Literal["fork"] = "fork"
    scratch: Path = Field(description="The child's own directory, and all that it may write.")


class Forked(BaseModel):
    """The answer. The child introduces itself over its channel."""

    pid: int = Field(description="As the warm process sees it, which may be in a namespace of its own.")


class Bury(BaseModel):
    """Asks for the end of a child, and of all in its process group."""

    kind: Literal["bury"] = "bury"
    pid: int
    patience: float = Field(description="Seconds that it is given to end by itself.")


class Buried(BaseModel):
    """The answer: they are gone. Until it was given, nobody else could have the child's process id."""

    status: int | None = Field(description="Its exit status, negative for a signal; None: it had to be killed.")


Request = Annotated[Fork | Bury, Field(discriminator="kind")]
REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


class Assignment(BaseModel):
    """The one document that a child is given: where its files are, and what to do with them."""

    model: Path
    calibration: Path | None
    evaluation: Path | None
    recipe: Recipe
    output: Path = Field(description="Directory for the artifacts; the child makes it.")
    checkpoint: Path = Field(description="Where training keeps its progress, and what it goes on from if it is there.")


class Check(BaseModel):
    """From a child to the process beside it: load what was saved, and run it on its sample."""

    folder: Path
    engine: str
    threads: int


class Checked(BaseModel):
    """The answer."""

    # JSON has no infinity, and what differs infinitely has to be said.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    difference: float | None = Field(None, description="Largest absolute difference from the sample's outputs.")
    error: str | None = Field(None, description="Why there is none.")


class Ready(BaseModel):
    """A child's first word: it is confined, and waits for its assignment."""

    sandbox: list[SandboxLayer] = Field(description="What stands around it.")


class Advanced(BaseModel):
    """The job has come further."""

    kind: Literal["advanced"] = "advanced"
    progress: Progress

    @field_validator("progress")
    @classmethod
    def _short(cls, progress: Progress) -> Progress:
        return progress.model_copy(update={"message": progress.message[:MAX_MESSAGE]})


class Checkpointed(BaseModel):
    """The checkpoint has been replaced by one that is further."""

    kind: Literal["checkpointed"] = "checkpointed"


class Failed(BaseModel):
    """The job cannot be done."""

    kind: Literal["failed"] = "failed"
    error: JobError

    @field_validator("error")
    @classmethod
    def _an_identifier(cls, error: JobError) -> JobError:
        if not error.code.isidentifier():
            msg = "an error's code is an identifier"
            raise ValueError(msg)
        return error


class Finished(BaseModel):
    """The artifacts are in place."""

    kind: Literal["finished"] = "finished"


INTERNAL_ERROR = JobError(
    code="internal_error",
    message="Something inside Octet went wrong that it has no words for.",
    hint="The worker's log has the details, under this job's id.",
)

Message = Annotated[Advanced | Checkpointed | Failed | Finished, Field(discriminator="kind")]
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


class ProtocolError(Exception):
    """The child said something that is not the protocol."""


class Channel:
    """The runner's end. Readable, in the sense of `select`, when the child has spoken or is gone."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._rest = b""
        if hasattr(socket, "SO_PASSCRED"):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def introduction(self, seconds: float) -> tuple[Ready, int | None]:
        """Wait for the child's first word.

        Returns:
            It, and the child's process id as this process sees it, whatever namespace the child is in: the kernel adds
            it to the word (unix(7), SCM_CREDENTIALS). None where the kernel does not.

        Raises:
            OSError: If it does not come in time, or is another one.
        """
        self._socket.settimeout(seconds)
        word, extra, _, _ = self._socket.recvmsg(MAX_LINE, socket.CMSG_SPACE(_CREDENTIALS.size))
        self._socket.settimeout(None)
        try:
            ready = Ready.model_validate_json(word)
        except ValidationError as error:
            msg = "The child did not introduce itself."
            raise ConnectionError(msg) from error
        return ready, next((_CREDENTIALS.unpack(data)[0] for _, _, data in extra), None)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def readable(self) -> bool:
        """Whether `receive()` would answer at once."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def assign(self, assignment: Assignment) -> None:
        """Hand the job over.

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

"""The process in which one job runs, forked from a warm one: it waits for one assignment, does it and ends.

It has seen nothing but its own assignment when it ends, and no other will.
"""

from __future__ import annotations

import logging
import socket
import traceback
from typing import TYPE_CHECKING

import octet
import octet.pipeline
from octet.errors import OctetError
from octet.pipeline.trial import is_out_of_memory
from octet.progress import Progress
from octet.wire import JobError
from worker.checker import Checker
from worker.limits import out_of_memory
from worker.protocol import INTERNAL_ERROR, Advanced, Assignment, Checkpointed, Failed, Finished, Message, Ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from octet.artifact import Reload
    from octet.wire import SandboxLayer
    from worker.sandbox import Limits, Occupant

_log = logging.getLogger("child")


def main(occupant: Occupant, layers: list[SandboxLayer], descriptor: int, checkers: int) -> None:
    """Serve one assignment.

    Args:
        occupant: What this process is.
        layers: What stands around it.
        descriptor: Its end of the channel.
        checkers: Its end of the channel to the checker.
    """
    channel = socket.socket(fileno=descriptor)

    def say(message: Message) -> None:
        channel.sendall(message.model_dump_json().encode() + b"\n")

    def on_progress(progress: Progress) -> None:
        say(Advanced(progress=progress))

    def on_checkpoint() -> None:
        say(Checkpointed())

    channel.sendall(Ready(sandbox=layers).model_dump_json().encode() + b"\n")
    line = channel.makefile("rb").readline()
    if not line:  # the runner has no use for this process
        return
    # Its standard error is a file that the runner adds to the worker's log, under the job's id and the request's.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        _run(Assignment.model_validate_json(line), on_progress, on_checkpoint, Checker(checkers))
    except Exception as error:  # noqa: BLE001 - whatever it is, the job's owner is told in words
        traceback.print_exc()
        say(Failed(error=_in_words(error, occupant.room.limits)))
    else:
        say(Finished())


def _run(
    assignment: Assignment, on_progress: octet.progress.OnProgress, on_checkpoint: Callable[[], None], reload: Reload
) -> None:
    _log.info("begins: method %s, engine %s", assignment.recipe.method, assignment.recipe.engine)
    on_progress(Progress(stage="load", fraction=0.0))
    result = octet.pipeline.quantize(
        octet.load(assignment.model),
        assignment.recipe,
        calibration=octet.read_dataset(assignment.calibration) if assignment.calibration else None,
        evaluation=octet.read_dataset(assignment.evaluation) if assignment.evaluation else None,
        on_progress=on_progress,
        checkpoint=assignment.checkpoint,
        on_checkpoint=on_checkpoint,
    )
    result.save(assignment.output, on_progress=on_progress, reload=reload)


def _in_words(error: Exception, limits: Limits) -> JobError:
    if isinstance(error, OctetError):
        return JobError(code=error.code, message=error.message, hint=error.hint)
    if is_out_of_memory(error):
        return out_of_memory(limits)
    return INTERNAL_ERROR

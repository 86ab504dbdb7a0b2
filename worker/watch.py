"""Watches a child do its job."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from octet.errors import TimedOutError
from worker import usage
from worker.protocol import Advanced, Checkpointed, Failed, Finished, ProtocolError

if TYPE_CHECKING:
    from octet.wire import JobError
    from worker.alarm import Alarm
    from worker.process import Child
    from worker.reporter import Reporter


class Crashed(Exception):  # noqa: N818 - an event, not a mistake
    """The child ended without a word. The text says how: the rest of a sentence that starts with its name."""


class Refused(Exception):  # noqa: N818 - likewise
    """The job cannot be done; the child has said why, or uses more than it may."""

    def __init__(self, error: JobError) -> None:
        super().__init__(error.message)
        self.error = error


def watch(child: Child, alarm: Alarm, reporter: Reporter, *, seconds: float) -> None:
    """Return once the child says that it has finished. Nothing here waits for anything but the child and the alarm.

    Args:
        child: It has its assignment.
        alarm: What ends the watch before that.
        reporter: Takes in the progress.
        seconds: The longest it may take.

    Raises:
        Interrupted, Crashed, Refused, TimedOutError: As they say.
    """
    deadline = time.monotonic() + seconds
    look = 0.0
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimedOutError(
                f"The job took longer than {seconds:g} seconds; it had come to the stage {reporter.stage}.",
                hint="Measure or train for less time, or raise the recipe's timeout_seconds; it cannot be above the "
                "service's OCTET_JOB_TIMEOUT_SECONDS.",
            )
        watched = [child.channel.fileno(), alarm.fileno()]
        readable = select.select(watched, [], [], min(remaining, usage.SECONDS))[0]
        alarm.heed()
        if time.monotonic() >= look:
            look = time.monotonic() + usage.SECONDS
            if error := usage.overdrawn(child):
                raise Refused(error)
        if child.channel.fileno() in readable and _listen(child, reporter):
            return


def _listen(child: Child, reporter: Reporter) -> bool:
    """Take in what the child says; whether it has finished."""
    try:
        for message in child.channel.receive():
            match message:
                case Advanced(progress=progress):
                    reporter.hear(progress)
                case Checkpointed():
                    reporter.hear_of_checkpoint()
                case Failed(error=error):
                    raise Refused(error)
                case Finished():
                    return True
    except EOFError:
        raise Crashed(child.death()) from None
    except ProtocolError as error:
        raise Crashed(f"said something out of turn: {error}") from error
    return False

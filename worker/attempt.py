"""One attempt at a job: from the claimed row to the end that is recorded.

It ends in one transaction, guarded by the attempt number and tried again while Postgres is away: what is done need not
be done again. Only a worker that must stop leaves it to the reconciler of whichever worker is alive then.

A child that ends without a word is treated like a worker that was lost: the job goes back to the queue, and the attempt
counts. Most crashes are the machine's doing (memory, a kill from outside) and deserve another try, perhaps elsewhere;
those that are the model's doing come again, and the attempt cap ends them with what happened.
"""

from __future__ import annotations

import errno
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from octet.errors import OctetError
from octet.wire import JobError
from store import leases
from store.database import UNAVAILABLE
from worker import room
from worker.alarm import Interrupted
from worker.artifacts import collect, read_report
from worker.inputs import CHECKPOINT, fetch
from worker.lease import Lease
from worker.limits import artifact_bytes
from worker.protocol import INTERNAL_ERROR
from worker.reporter import Reporter
from worker.watch import Crashed, Refused, watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from threading import Event

    from store.database import Database
    from store.settings import Settings
    from store.tables import Job
    from worker.alarm import Alarm
    from worker.process import Child

_FULL = (errno.ENOSPC, errno.EDQUOT)
_RETRY_SECONDS = 0.5  # between two tries to record an end while Postgres is away

_log = structlog.get_logger()


@dataclass(frozen=True)
class End:
    """How an attempt ended: a word for the log, and what records it, given a session, the job's id and the attempt."""

    word: str
    record: Callable[..., bool]


def _leave(*_: object) -> bool:
    """Record nothing: the job is somebody else's."""
    return False


CANCELLED = End("cancelled", leases.confirm_cancelled)
HANDED_BACK = End("handed back", leases.release)
LOST = End("lost", _leave)
_INTERRUPTIONS = {"cancelled": CANCELLED, "stopping": HANDED_BACK, "lost": LOST}


class Attempt:
    """A claimed job, the child that does it, the alarm that may stop it, and whether this worker must stop at once."""

    def __init__(  # noqa: PLR0917 - what the docstring names, in that order
        self, database: Database, settings: Settings, job: Job, child: Child, alarm: Alarm, impatient: Event
    ) -> None:
        self._database = database
        self._settings = settings
        self._job = job
        self._child = child
        self._alarm = alarm
        self._impatient = impatient
        self._reporter = Reporter(database, job, child.scratch / CHECKPOINT, limit=artifact_bytes(settings))

    def run(self) -> End:
        """Do the job and record how it ended."""
        with Lease(self._database, self._settings, self._job.id, self._job.attempt, self._alarm):
            try:
                end = self._work()
            except Exception as reason:  # noqa: BLE001 - whatever it is, the job's owner is told in words
                end = self._early_end(reason)
            try:
                recorded = self._record(end)
            except Exception as reason:  # noqa: BLE001 - a job must not stay unfinished because of what it handed in
                recorded = self._record(end := self._early_end(reason))
        _log.info("attempt ended", end=end.word, recorded=recorded)
        return end

    def _work(self) -> End:
        with self._reporter:
            output, model_sha256 = self._have_it_done()
        artifacts = collect(output, limit=artifact_bytes(self._settings))
        report = read_report(output, model_sha256=model_sha256)
        return End("succeeded", partial(leases.succeed, report=report, artifacts=artifacts))

    def _have_it_done(self) -> tuple[Path, str]:
        """Where the child has left what it made, and of which model."""
        try:
            assignment, model_sha256 = fetch(self._database, self._job, self._child.scratch, self._alarm)
            self._child.channel.assign(assignment)
            seconds = min(self._settings.job_timeout_seconds, assignment.recipe.timeout_seconds or math.inf)
            watch(self._child, self._alarm, self._reporter, seconds=seconds)
        finally:
            # Before anyone else may take the job; and it could exchange what it left while that is looked at.
            self._child.kill()
        return assignment.output, model_sha256

    def _early_end(self, reason: Exception) -> End:
        match reason:
            case Interrupted():
                return _INTERRUPTIONS[reason.reason]
            case _ if self._is_this_workers_trouble(reason):
                _log.warning("this worker cannot do the job now; it is left to others, or to later", error=str(reason))
                return HANDED_BACK
            case Crashed():
                return self._crashed(f"The job's process {reason}")
            case ConnectionError():  # it was gone before it had its assignment
                return self._crashed(f"The job's process {self._child.death()}")
            case OSError():
                return self._crashed(f"The worker could not handle the job's files ({reason.strerror or reason})")
        return _failed(_in_words(reason))

    def _is_this_workers_trouble(self, reason: Exception) -> bool:
        """Whether trying again later may help: the database is away, or the disk is full."""
        if isinstance(reason, UNAVAILABLE) or (isinstance(reason, OSError) and reason.errno in _FULL):
            return True
        return _is_unexplained(reason) and room.is_scarce(self._child)

    def _crashed(self, what: str) -> End:
        while_doing = f" while it was busy with the stage {self._reporter.stage}" if self._reporter.stage else ""
        message = f"{what}{while_doing}."
        _log.warning("the attempt crashed", happened=message)
        return End("crashed", partial(leases.crash, happened=message, max_attempts=self._settings.max_attempts))

    def _record(self, end: End) -> bool:
        while True:
            try:
                with self._database.begin() as session:
                    job = (session, self._job.id, self._job.attempt)
                    # Refused means that it was cancelled in the meantime, or is somebody else's.
                    return end.record(*job) or leases.confirm_cancelled(*job)
            except UNAVAILABLE as error:
                _log.warning("the end of the job could not be recorded yet", end=end.word, error=str(error))
            if self._impatient.wait(_RETRY_SECONDS):
                return False


def _is_unexplained(reason: Exception) -> bool:
    """Whether it may come from anything, a full disk for one."""
    by_itself = isinstance(reason, Refused) and reason.error.code == INTERNAL_ERROR.code
    return by_itself or isinstance(reason, (Crashed, OSError))


def _failed(error: JobError) -> End:
    return End(f"failed: {error.code}", partial(leases.fail, error=error.model_dump()))


def _in_words(error: Exception) -> JobError:
    if isinstance(error, Refused):
        return error.error
    if isinstance(error, OctetError):
        return JobError(code=error.code, message=error.message, hint=error.hint)
    _log.error("the worker could not do the job", exc_info=error)
    return INTERNAL_ERROR

"""The slots of a worker: each takes the jobs that are queued, one after the other, for as long as there are any.

Postgres owns the queue. A hint on Redis says that it is worth a look now, and so does each round of the reconciler:
without Redis jobs begin a few seconds later, and that is all.
"""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Event, Lock, Thread
from typing import TYPE_CHECKING

import structlog
from structlog.contextvars import bound_contextvars

from store import leases
from store.database import UNAVAILABLE
from store.tracing import tracer
from worker import room
from worker.alarm import Alarm
from worker.attempt import HANDED_BACK, Attempt

if TYPE_CHECKING:
    from uuid import UUID

    from store.database import Database
    from store.settings import Settings
    from store.tables import Job
    from worker.process import Child
    from worker.spares import Spares

_log = structlog.get_logger()


class Runner:
    """Claims jobs and does them, as many at a time as there are slots.

    Attributes:
        stopping: Whether it was asked to stop.
        handed_back: Jobs that this worker leaves to others. When it stops, their hints must be published again; until
            then it takes them only if there is nothing else to do.
    """

    def __init__(self, database: Database, settings: Settings, spares: Spares, worker_id: UUID) -> None:
        self.stopping = False
        self.handed_back: set[UUID] = set()
        self._database = database
        self._settings = settings
        self._spares = spares
        self._worker_id = worker_id
        self._slots = BoundedSemaphore(settings.worker_slots)
        self._halt = Alarm()  # rings when no further job may begin
        self._impatient = Event()  # set when those that run must end as well
        self._cramped = False
        self._alarms: set[Alarm] = set()  # of the attempts under way
        self._lock = Lock()
        self._requests: SimpleQueue[None] = SimpleQueue()  # to stop
        self._stopper = Thread(target=self._stop, name="stopper", daemon=True)
        self._stopper.start()

    def run(self, job_id: UUID) -> None:
        """Do a job if it is still queued (a hint may come twice, or late), and whatever else is; waits for a slot."""
        with self._slots:
            self._work_off(job_id)
        if self.stopping:
            self.handed_back.add(job_id)

    def look(self) -> None:
        """Put every free slot to work, in a thread of its own, if a job is queued; returns at once."""
        if self._any_waiting():
            for _ in range(self._settings.worker_slots):
                Thread(target=self._fill_slot, name="slot", daemon=True).start()

    def stop(self) -> None:
        """Begin no more jobs. Those that run are handed back when the grace is over, or when this is called again.

        It takes no lock, so it may be called where a signal is handled.
        """
        self.stopping = True
        self._requests.put(None)

    def join(self) -> None:
        """Wait for the end of every job, once `stop` was called. It is the last thing to do with it."""
        for _ in range(self._settings.worker_slots):
            self._slots.acquire()
        self._requests.put(None)
        self._stopper.join()
        self._halt.close()

    def _stop(self) -> None:
        self._requests.get()
        _log.info("beginning no more jobs", grace_seconds=self._settings.grace_seconds)
        self._halt.ring("stopping")
        with suppress(Empty):
            self._requests.get(timeout=self._settings.grace_seconds)
        self._impatient.set()
        with self._lock:
            for alarm in self._alarms:
                alarm.ring("stopping")

    def _fill_slot(self) -> None:
        if self._slots.acquire(blocking=False):
            try:
                self._work_off(None)
            finally:
                self._slots.release()

    def _work_off(self, job_id: UUID | None) -> None:
        """Do what is queued, the job of this id first."""
        try:
            while not self.stopping and self._has_room() and self._any_waiting() and self._do_next(job_id):
                pass
        except Exception:  # noqa: BLE001 - the slot must be there for the next job
            _log.exception("a slot could not go on; it looks again later")

    def _do_next(self, job_id: UUID | None) -> bool:
        """Do a job; whether to look for the next one at once."""
        child = self._spares.take(self._halt)  # before the claim: what loads torch holds no lease
        if child is None:
            return False
        try:
            job = self._claim(job_id)
            # After a job that was handed back another one would hardly fare better here at this moment.
            return job is not None and self._attempt(job, child)
        finally:
            child.close()
            self._spares.give_back(child.warm)

    def _has_room(self) -> bool:
        if room.is_scarce() != self._cramped:
            self._cramped = not self._cramped
            _log.warning("no room on the disk for jobs" if self._cramped else "room on the disk again")
        return not self._cramped

    def _any_waiting(self) -> bool:
        try:
            with self._database.begin() as session:
                return leases.any_waiting(session)
        except UNAVAILABLE as error:
            _log.warning("the queue could not be read", error=str(error))
            return False

    def _claim(self, job_id: UUID | None) -> Job | None:
        mine = (self._worker_id, self._settings.lease_seconds)
        try:
            with self._database.begin() as session:
                hinted = None if job_id is None else leases.claim(session, job_id, *mine)
                return hinted or leases.claim_next(session, *mine, last=self.handed_back)
        except UNAVAILABLE as error:
            _log.warning("no job could be claimed", error=str(error))
            return None

    def _attempt(self, job: Job, child: Child) -> bool:
        """Make an attempt at a job; False if it was handed back."""
        alarm = Alarm()
        with self._lock:
            self._alarms.add(alarm)
            if self._impatient.is_set():
                alarm.ring("stopping")
        try:
            ids = {"job_id": str(job.id), "attempt": job.attempt, "request_id": job.request_id}
            with bound_contextvars(**ids), tracer().attempt(job) as tell_end:
                _log.info("attempt begins", recipe=job.recipe.get("method"), engine=job.recipe.get("engine"))
                end = Attempt(self._database, self._settings, job, child, alarm, self._impatient).run()
                tell_end(end.word)
                for line in child.log_lines():
                    _log.info("the child wrote", line=line)
        finally:
            with self._lock:
                self._alarms.remove(alarm)
            alarm.close()
        if end is HANDED_BACK:
            self.handed_back.add(job.id)
            return False
        self.handed_back.discard(job.id)
        return True

"""One fault and the jobs it befalls: what a fault can watch for, strike at, and must leave behind."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import defer

from chaos.bed import DEFAULT, Bed, Setup
from chaos.client import Log, Submission
from chaos.processes import NeverCameTrueError, Process, wait_until
from octet.wire import FINISHED
from store.tables import Job, JobEvent

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection
    from pathlib import Path

RATE = 20.0  # jobs submitted per second at most
SHORT = {"method": "dynamic", "measure": {"seconds": 0.05, "layers": False}}
# Measuring ends after some thousand calls as well, which takes a tiny model a moment: these are the longest there are.
_LARGE_BATCHES = list(range(4089, 4097))
_STUCK_SECONDS = 90.0  # nothing has happened to any job for so long: nothing will, without a human


def lasting(seconds: float) -> dict[str, Any]:
    """The recipe of a job that measures for so long."""
    measure = {"seconds": seconds / len(_LARGE_BATCHES), "batch_sizes": _LARGE_BATCHES, "layers": False}
    return {"method": "dynamic", "measure": measure}


ENDLESS = lasting(4800.0)


@dataclass(frozen=True)
class Fault:
    """What is done to the service.

    Attributes:
        name: For `--only`.
        what: For the table.
        strike: Does it, and returns when it is over.
        bound: Seconds within which the service has to have recovered.
        setup: What is special about the service.
        peers: Whether it befalls plain Celery as well.
    """

    name: str
    what: str
    strike: Callable[[Scene], Strike]
    bound: float | None = None
    setup: Setup = DEFAULT
    peers: bool = True


@dataclass
class Strike:
    """What a fault did.

    Attributes:
        over: When it was over, as `time.time()`.
        affected: The jobs that were hit, and when. Each has recovered when it was taken up again, or had ended; the
            slowest counts. None: a server was hit, and recovery lasts from `over` until each worker has taken up a job.
        unanswered: Requests were cut off after their commit. What is committed counts, as if nobody asked again.
        may_end: How jobs may end, where they need not succeed.
        broken: Promises of the fault's own that were not kept, in words.
        notes: Figures worth telling.
    """

    over: float
    affected: dict[UUID, float] | None = None
    unanswered: bool = False
    may_end: dict[UUID, set[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def promise(self, kept: bool, otherwise: str) -> None:
        """Note a promise that is not kept."""
        if not kept:
            self.broken.append(otherwise)


class Scene:
    """The jobs of one fault, and the service that does them.

    Args:
        bed: The service.
        name: Of the fault; it names the jobs.
        jobs: How many.
        random: Decides on everything that is left to chance.
        models: Paths of the models that it may need.
        peers: Whether it befalls plain Celery as well.

    Attributes:
        unfinished_when_struck: By name, "octet" or a peer's: the jobs taken and not done, at the blow with the fewest.
    """

    def __init__(
        self, bed: Bed, name: str, jobs: int, *, random: random.Random, models: dict[str, Path], peers: bool
    ) -> None:
        self.bed = bed
        self.jobs = jobs
        self.random = random
        self.models = models
        self.batch = name
        self.log = Log(bed.folder / f"acknowledged-{name}.jsonl")
        self.peers = bed.peers if peers else []
        self.model = bed.client.upload(models["tiny"])
        self.asked_of_peers = 0
        self.unfinished_when_struck: dict[str, int] = {}
        self._submissions: list[Submission] = []
        self._internal_errors = bed.client.internal_errors

    def submit(self, count: int | None = None, rate: float = RATE) -> Submission:
        """Have short jobs submitted in the background, to Octet."""
        return self.submit_with(SHORT, count, rate)

    def submit_to_peers(self, count: int | None = None, rate: float = RATE) -> None:
        """Have jobs submitted in the background to Octet's peers."""
        first, self.asked_of_peers = self.asked_of_peers, self.asked_of_peers + (count or self.jobs)
        numbers = range(first, self.asked_of_peers)
        self._submissions += [peer.submit(self.batch, numbers, rate) for peer in self.peers]

    def submit_with(self, recipe: dict[str, Any], count: int | None = None, rate: float = RATE) -> Submission:
        """Have jobs of this recipe submitted in the background, to Octet."""
        group = len(self._submissions)

        def one(number: int) -> None:
            self.submit_one(f"{group}-{number}", recipe)

        self._submissions.append(Submission(one, count or self.jobs, rate))
        return self._submissions[-1]

    def submit_one(self, name: str, recipe: dict[str, Any], model: str | None = None) -> UUID:
        """Submit a job, and give its id once it is acknowledged."""
        label = f"{self.batch}/{name}"
        return self.bed.client.submit(self.log, name=label, model=model or self.model, recipe=recipe)

    @property
    def internal_errors(self) -> int:
        """Requests of this scene that were answered with 500, where 503 would have been right."""
        return self.bed.client.internal_errors - self._internal_errors

    @property
    def acknowledged(self) -> dict[UUID, str]:
        """The name of each acknowledged job, from the client's log."""
        return {UUID(entry["job"]): entry["name"] for entry in self.log.read()}

    def rows(self) -> list[Job]:
        """The jobs of this scene, acknowledged or not."""
        # Asked for often, so without what is long: it must not take the processor from the jobs.
        mine = select(Job).options(defer(Job.report), defer(Job.recipe)).order_by(Job.queued_at)
        mine = mine.where(Job.name.startswith(f"{self.batch}/"))
        return self.bed.ask(lambda session: list(session.scalars(mine)))

    def job(self, job_id: UUID) -> Job:
        return self.bed.ask(lambda session: session.scalars(select(Job).where(Job.id == job_id)).one())

    def until(self, condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
        wait_until(condition, what, seconds)

    def until_under_way(self) -> None:
        """Return in the middle of it: a tenth of the jobs have ended, and a worker holds another.

        The peers, whose tasks sleep, would be through by then: they are given their jobs now, and have done a few.
        """
        self.until(lambda: self.ended() >= self.jobs // 10, "jobs have ended")
        self.submit_to_peers()
        for peer in self.peers:
            self.until(lambda peer=peer: peer.done(self.batch).total(), f"{peer.name} has done jobs")
        self.until(self.busy_workers, "a worker holds a job")
        time.sleep(self.random.uniform(0.0, 0.5))  # at some moment of a job's life, as the seed has it
        self.about_to_strike()

    def about_to_strike(self) -> None:
        """Note, before each blow, how much there is to hit: a fault that comes after the last job shows nothing."""
        now = {"octet": len(self.unfinished())} | {peer.name: peer.unfinished(self.batch) for peer in self.peers}
        before = self.unfinished_when_struck
        self.unfinished_when_struck = {name: min(count, before.get(name, count)) for name, count in now.items()}

    def ended(self) -> int:
        """How many jobs have ended."""
        return sum(job.state in FINISHED for job in self.rows())

    def unfinished(self) -> list[Job]:
        """The jobs that have not ended."""
        return [job for job in self.rows() if job.state not in FINISHED]

    def busy_workers(self) -> list[Process]:
        """Workers that hold a job."""
        return [worker for worker in self.bed.workers if self.bed.held_by(worker)]

    def a_busy_worker(self) -> Process:
        """One that holds a job, as the seed has it."""
        self.until(self.busy_workers, "a worker holds a job")
        return self.random.choice(self.busy_workers() or self.bed.workers)

    def stop_a_busy_worker(self) -> tuple[Process, set[UUID]]:
        """Stop a worker (SIGSTOP), as the seed has it, and give the jobs that it holds, at least one: it keeps them."""
        self.about_to_strike()
        while True:
            worker = self.a_busy_worker()
            worker.send(signal.SIGSTOP)
            if held := {job.id for job in self.bed.held_by(worker)}:
                return worker, held
            worker.send(signal.SIGCONT)

    def join(self) -> None:
        """Wait until every submission was acknowledged."""
        for submission in self._submissions:
            submission.join()

    def settle(self) -> bool:
        """Wait until every job has ended; False if nothing moves any more."""
        moved, before = time.monotonic(), 0
        while self.unfinished():
            latest = self.bed.ask(lambda session: session.scalar(select(func.max(JobEvent.id)))) or 0
            if latest != before:
                moved, before = time.monotonic(), latest
            if time.monotonic() - moved > _STUCK_SECONDS:
                return False
            time.sleep(0.1)
        return True

    def close(self) -> None:
        self.log.close()


def in_parallel(calls: Collection[Callable[[], object]]) -> None:
    """Call all of them at once, and wait for all."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


__all__ = ["ENDLESS", "SHORT", "Fault", "NeverCameTrueError", "Scene", "Strike", "in_parallel", "lasting"]

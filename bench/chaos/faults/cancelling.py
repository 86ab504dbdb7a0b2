"""Cancelling: how soon it takes effect, and what comes of it when the job ends at the same moment."""

from __future__ import annotations

import threading
import time
from statistics import median, quantiles
from typing import TYPE_CHECKING

from chaos.bed import job_processes
from chaos.processes import lives
from chaos.scene import ENDLESS, SHORT, Fault, Scene, Strike
from octet.wire import FINISHED

if TYPE_CHECKING:
    from uuid import UUID


_CANCELS = 40
_BOUND_SECONDS = 2.0


def races(scene: Scene) -> Strike:
    """Each job is cancelled about when it should end. What the client was told has to be what became of it."""
    sample = [scene.submit_one(f"sample-{number}", SHORT) for number in range(4)]
    scene.settle()
    lasting = median(_seconds(scene, job_id) for job_id in sample)
    answers: dict[UUID, tuple[int, str]] = {}
    scene.submit_with(SHORT)
    scene.until(scene.unfinished, "jobs are there")
    scene.about_to_strike()
    threads: dict[UUID, threading.Thread] = {}

    def cancel(job_id: UUID, after: float) -> None:
        time.sleep(after)
        answer = scene.bed.client.persist("POST", f"jobs/{job_id}/cancel")
        answers[job_id] = answer.status_code, answer.text

    def everything_is_being_cancelled() -> bool:
        for job in scene.rows():
            if job.state == "running" and job.id not in threads:
                after = scene.random.uniform(0.5, 1.1) * lasting
                threads[job.id] = threading.Thread(target=cancel, args=(job.id, after))
                threads[job.id].start()
        return len(scene.acknowledged) == scene.jobs + len(sample) and not scene.unfinished()

    scene.until(everything_is_being_cancelled, "each job has ended or was cancelled", 300.0)
    for thread in threads.values():
        thread.join()
    scene.settle()
    strike = Strike(over=time.time(), affected={})
    strike.promise(bool(answers), "no job was there to be cancelled")
    states = {job.id: job.state for job in scene.rows()}
    strike.may_end = {job_id: {"succeeded", "cancelled"} for job_id in states}
    for job_id, (status, text) in answers.items():
        told = "cancelled" if status == 202 else "succeeded"
        strike.promise(status in {202, 409}, f"cancelling was answered with {status}: {text}")
        strike.promise(states[job_id] == told, f"told {status}, and the job is {states[job_id]}")
    strike.notes = {
        "races": len(answers),
        "won by the cancel": sum(status == 202 for status, _ in answers.values()),
    }
    return strike


def latency(scene: Scene) -> Strike:
    """Forty jobs that would last for minutes, cancelled as they measure; until no process of theirs is left."""
    strike, seconds = Strike(over=time.time(), affected={}), []
    for number in range(min(_CANCELS, scene.jobs)):
        job_id = scene.submit_one(f"{number}", ENDLESS)
        strike.may_end[job_id] = {"cancelled"}
        scene.until(lambda job_id=job_id: scene.job(job_id).stage == "measure", "it measures")
        processes = [process for worker in scene.busy_workers() for process in job_processes(worker)]
        strike.promise(bool(processes), "the job's processes were not found")
        scene.about_to_strike()
        began = time.monotonic()
        scene.bed.client.persist("POST", f"jobs/{job_id}/cancel")
        while any(lives(process) for process in processes):
            time.sleep(0.002)
        seconds.append(time.monotonic() - began)
        scene.until(lambda job_id=job_id: scene.job(job_id).state in FINISHED, "it is cancelled")
    p95 = quantiles(seconds, n=20)[-1]
    strike.promise(p95 <= _BOUND_SECONDS, f"p95 of cancelling is {p95:.2f} s")
    strike.notes = {"cancel p50, s": round(median(seconds), 2), "cancel p95, s": round(p95, 2)}
    return strike


def _seconds(scene: Scene, job_id: UUID) -> float:
    job = scene.job(job_id)
    assert job.running_at is not None
    assert job.succeeded_at is not None
    return (job.succeeded_at - job.running_at).total_seconds()


FAULTS = (
    Fault("cancel-races", "cancel against finish, for each job", races, peers=False),
    Fault("cancel-latency", "40 cancels, until the process tree is gone", latency, peers=False),
)

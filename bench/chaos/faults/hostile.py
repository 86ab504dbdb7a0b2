"""Models that hang, crash, or exhaust the process that runs them."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from chaos.bed import Setup, job_processes
from chaos.scene import ENDLESS, SHORT, Fault, Scene, Strike
from octet.wire import FINISHED
from store.settings import Settings

if TYPE_CHECKING:
    from uuid import UUID

_ATTEMPTS = Settings.model_fields["max_attempts"].default
_SETUP = Setup(settings={"JOB_MEMORY_BYTES": str(2**30), "JOB_TIMEOUT_SECONDS": "15"})


def out_of_memory(scene: Scene) -> Strike:
    """Some jobs ask for more memory than a job may have. They fail, and say why; all others are done."""
    model = scene.bed.client.upload(scene.models["exhausts"])
    scene.submit()
    greedy = [scene.submit_one(f"exhausts-{number}", SHORT, model) for number in range(_few(scene))]
    scene.about_to_strike()
    return _ends(scene, dict.fromkeys(greedy, "out_of_memory"))


def harmful_models(scene: Scene) -> Strike:
    """One model never comes to an end, and another one's process dies in every attempt."""
    scene.submit()
    hangs = scene.submit_one("hangs", SHORT, scene.bed.client.upload(scene.models["hangs"]))
    crashes = scene.submit_one("crashes", ENDLESS)
    crashed: set[int] = set()
    scene.about_to_strike()

    def crash_again() -> bool:
        job = scene.job(crashes)
        if job.state == "running" and job.stage is not None and job.attempt not in crashed:
            for worker in scene.bed.workers:
                if crashes in {held.id for held in scene.bed.held_by(worker)}:
                    for process in job_processes(worker):
                        process.send_signal(signal.SIGSEGV)
                        crashed.add(job.attempt)
        return job.state in FINISHED

    scene.until(crash_again, "the job that crashes was given up", 180.0)
    strike = _ends(scene, {hangs: "timeout", crashes: "crashed"})
    attempts = scene.job(crashes).attempt
    strike.promise(attempts == _ATTEMPTS, f"the job that crashes was started {attempts} times")
    return strike


def _few(scene: Scene) -> int:
    return max(2, scene.jobs // 40)


def _ends(scene: Scene, codes: dict[UUID, str]) -> Strike:
    """These jobs have to fail, with this code and in words."""
    scene.settle()
    strike = Strike(over=time.time(), affected={}, may_end={key: {"failed"} for key in codes})
    for job_id, code in codes.items():
        error = scene.job(job_id).error or {}
        strike.promise(error.get("code") == code, f"it should say {code}, and says {error}")
        strike.notes[code] = error.get("message")
    return strike


FAULTS = (
    Fault("out-of-memory", "jobs that ask for too much memory", out_of_memory, setup=_SETUP, peers=False),
    Fault("harmful-models", "models that hang and crash", harmful_models, setup=_SETUP, peers=False),
)

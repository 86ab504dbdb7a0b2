"""Workers that stand still, whose clock is off, or that are asked to stop."""

from __future__ import annotations

import re
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING

from chaos.bed import Setup
from chaos.scene import Fault, Scene, Strike, lasting
from octet.report import Report
from store.settings import Settings

if TYPE_CHECKING:
    from uuid import UUID

    from chaos.processes import Process

HOUR = 3600
_LEASE = Settings.model_fields["lease_seconds"].default
_GRACE = Settings.model_fields["grace_seconds"].default
_SLACK_SECONDS = 8.0
_EPOCHS = 40
_LASTING = lasting(1.5 * _GRACE)
_TRAINED = {
    "method": "qat",
    "calibration": {"source": "synthetic", "samples": 64},
    "training": {"epochs": _EPOCHS, "batch_size": 4},
    "measure": {"seconds": 0.05, "layers": False},
}


def stopped_past_its_lease(scene: Scene) -> Strike:
    """A worker stands still for longer than its lease while its child finishes the job, and is woken.

    What it then writes has to be refused. A peer's worker stands still for as long: past its visibility timeout.
    """
    scene.submit()
    scene.until_under_way()
    worker, held = scene.stop_a_busy_worker()
    over = time.time()
    peers = [process for peer in scene.peers for process in scene.random.choice(peer.workers).tree()]
    for process in peers:
        process.suspend()
    scene.until(lambda: all(scene.job(job_id).attempt > 1 for job_id in held), "its job is somebody else's")
    time.sleep(_SLACK_SECONDS - 5)
    worker.send(signal.SIGCONT)
    for process in peers:
        process.resume()
    return Strike(over=over, affected=dict.fromkeys(held, over))


def clocks_off(scene: Scene) -> Strike:
    """One worker's clock is an hour ahead, the other's an hour behind, and one of them is killed."""
    scene.submit()
    scene.until_under_way()
    worker, held = scene.stop_a_busy_worker()
    worker.kill()
    strike = Strike(over=(over := time.time()), affected=dict.fromkeys(held, over))
    for each, clock in zip(scene.bed.workers, scene.bed.setup.clocks, strict=True):
        off = _logged_at(each) - time.time()
        strike.promise(abs(off - clock) < HOUR / 2, f"the clock of {each.name} was off by {off:.0f} s")
    return strike


def _logged_at(worker: Process) -> float:
    """When a worker wrote the latest line of its log, by its own clock."""
    *_, latest = re.findall(r'"timestamp": "([^"]+)"', worker.log.read_text(encoding="utf-8"))
    return datetime.fromisoformat(latest).timestamp()


def asked_to_stop(scene: Scene) -> Strike:
    """Each worker is asked to stop while it holds a job, and started again.

    One job lasts for longer than the grace period: that one has to be handed back.
    """
    long = scene.submit_one("lasting", _LASTING)
    scene.submit()
    scene.submit_to_peers()
    scene.until(lambda: scene.job(long).stage == "measure", "the lasting job measures")
    workers = sorted(scene.bed.workers, key=lambda worker: long not in _ids(scene, worker))
    strike, slowest = Strike(over=time.time(), affected={}), 0.0
    for worker in workers:
        scene.until(lambda worker=worker: scene.bed.held_by(worker) or not scene.unfinished(), "it holds a job")
        scene.about_to_strike()
        began = time.monotonic()
        worker.down(signal.SIGTERM)
        slowest = max(slowest, time.monotonic() - began)
        worker.up()
    for peer in scene.peers:
        for process in peer.workers:
            process.down(signal.SIGTERM)
            process.up()
    scene.settle()
    counted = [job.id for job in scene.rows() if job.attempt - job.released > 1]
    strike.promise(not counted, f"{len(counted)} jobs had an attempt counted against them")
    strike.promise(slowest < _GRACE + _SLACK_SECONDS, f"a worker took {slowest:.0f} s to stop")
    strike.promise(scene.job(long).released > 0, "the job that lasts was not handed back")
    strike.notes |= {
        "slowest stop, s": round(slowest, 1),
        "jobs handed back": sum(job.released > 0 for job in scene.rows()),
    }
    return strike


def _ids(scene: Scene, worker: Process) -> set[UUID]:
    return {job.id for job in scene.bed.held_by(worker)}


def killed_while_training(scene: Scene) -> Strike:
    """A worker is killed in the middle of QAT. The next attempt goes on from the checkpoint."""
    jobs = [scene.submit_one(f"qat-{number}", _TRAINED) for number in range(2)]
    scene.until(lambda: all(scene.job(job_id).checkpoint_sha256 for job_id in jobs), "both have a checkpoint")
    worker, held = scene.stop_a_busy_worker()
    worker.kill()
    strike = Strike(over=(over := time.time()), affected=dict.fromkeys(held, over))
    scene.settle()
    for job_id in held:
        report = Report.model_validate(scene.job(job_id).report)
        went_on = [warning for warning in report.warnings if "went on after epoch" in warning]
        numbers = [epoch.number for epoch in report.training]
        strike.promise(bool(went_on), "training began anew")
        strike.promise(numbers == list(range(_EPOCHS + 1)), f"its epochs are {numbers}")
        strike.notes["QAT"] = " ".join(went_on)
    return strike


FAULTS = (
    Fault("worker-stopped", "a worker stopped past its lease, then woken", stopped_past_its_lease, bound=40),
    Fault(
        "clocks-off",
        "workers' clocks ±1 h off, one of them killed",
        clocks_off,
        bound=40,
        setup=Setup(clocks=(HOUR, -HOUR)),
        peers=False,
    ),
    Fault("worker-terminated", "SIGTERM of each worker mid-job", asked_to_stop),
    Fault("qat-killed", "SIGKILL of a worker in the middle of QAT", killed_while_training, bound=40, peers=False),
)

"""SIGKILL, as an impatient operator or the kernel's out-of-memory killer sends it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chaos.bed import job_processes
from chaos.processes import kill_all, lives
from chaos.scene import Fault, Scene, Strike

if TYPE_CHECKING:
    from uuid import UUID


_KILLS = 5
_TREE_SECONDS = 10.0


def worker_killed(scene: Scene) -> Strike:
    """A worker that holds a job is killed. Its processes have to go with it; of a peer's, they are all killed."""
    scene.submit()
    scene.until_under_way()
    worker, held = scene.stop_a_busy_worker()
    below = worker.tree()[1:]
    worker.kill()
    strike = Strike(over=(over := time.time()), affected=dict.fromkeys(held, over))
    for peer in scene.peers:
        kill_all(scene.random.choice(peer.workers).tree())
    scene.until(
        lambda: not any(lives(process) for process in below),
        "the processes of the killed worker are gone",
        _TREE_SECONDS,
    )
    return strike


def children_killed(scene: Scene) -> Strike:
    """The processes of five jobs are killed, each in its first attempt; so is a prefork process of each peer."""
    scene.submit()
    scene.until_under_way()
    hit: dict[UUID, float] = {}
    for _ in range(_KILLS):
        scene.until(lambda: _kill_a_child(scene, hit) or not scene.unfinished(), "a job in its first attempt runs")
        for peer in scene.peers:
            children = peer.busy_children()
            kill_all(scene.random.sample(children, min(1, len(children))))
    strike = Strike(over=time.time(), affected=hit)
    strike.promise(len(hit) >= _KILLS, f"only {len(hit)} jobs were there to be hit")
    return strike


def warm_processes_killed(scene: Scene) -> Strike:
    """All that a worker has started is killed, thrice: what runs a job, and what waits for one."""
    scene.submit()
    scene.until_under_way()
    hit: dict[UUID, float] = {}
    for _ in range(3):
        scene.about_to_strike()
        worker = scene.a_busy_worker()
        hit |= {job.id: time.time() for job in scene.bed.held_by(worker) if job.attempt == 1}
        kill_all(worker.tree()[1:])
        scene.until(lambda worker=worker: job_processes(worker) or not scene.unfinished(), "it does the next job")
    return Strike(over=time.time(), affected=hit)


def api_killed(scene: Scene) -> Strike:
    """The API is killed three times while requests are being answered. The client repeats them."""
    scene.submit()
    scene.submit_to_peers()
    for share in (0.2, 0.4, 0.6):
        enough = share * scene.jobs
        scene.until(lambda enough=enough: len(scene.acknowledged) >= enough, "requests are coming in")
        time.sleep(scene.random.uniform(0.0, 0.1))
        scene.about_to_strike()
        scene.bed.api.kill()
        for peer in scene.peers:
            peer.api.kill()
        scene.until(lambda: scene.bed.api.alive, "the API is started again")
        scene.bed.api.wait_ready()
    return Strike(over=time.time())


def _kill_a_child(scene: Scene, hit: dict[UUID, float]) -> bool:
    for worker in scene.random.sample(scene.bed.workers, len(scene.bed.workers)):
        held = [job for job in scene.bed.held_by(worker) if job.attempt == 1 and job.id not in hit]
        processes = job_processes(worker)
        if held and processes:
            scene.about_to_strike()
            time.sleep(scene.random.uniform(0.0, 0.1))
            kill_all(processes)
            hit |= {job.id: time.time() for job in held}
            return True
    return False


FAULTS = (
    Fault("worker-killed", "SIGKILL of a worker", worker_killed, bound=40),
    Fault("child-killed", "SIGKILL of a job's process, 5 times (as for memory)", children_killed),
    Fault("warm-killed", "SIGKILL of all a worker has started, 3 times", warm_processes_killed, peers=False),
    Fault("api-killed", "SIGKILL of the API mid-request, 3 times", api_killed),
)

"""Redis and Postgres, killed, paused, emptied and restarted under the service."""

from __future__ import annotations

import signal
import threading
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from chaos.scene import Fault, Scene, Strike
from store.hints import Hints

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_AWAY_SECONDS = 2.0
_PAUSE_SECONDS = 8.0
_RESENT_JOBS, _RESENT = 10, 20
REDIS_BOUND, POSTGRES_BOUND = 20.0, 15.0


def redis_killed(scene: Scene) -> Strike:
    """Redis is killed and comes back two seconds later, while jobs are being submitted."""
    return _in_the_middle(scene, lambda: _away(scene, signal.SIGKILL))


def redis_restarted(scene: Scene) -> Strike:
    """Redis is restarted five times, in good order."""

    def restart() -> None:
        for _ in range(5):
            scene.about_to_strike()
            scene.bed.redis.down(signal.SIGTERM)
            scene.bed.redis.up()
            time.sleep(scene.random.uniform(0.2, 1.0))

    return _in_the_middle(scene, restart)


def redis_flushed(scene: Scene) -> Strike:
    """Redis forgets everything, once in the middle and once when all has been submitted."""

    def flush() -> None:
        with scene.bed.broker() as broker:
            broker.flushall()
            scene.join()
            scene.about_to_strike()
            broker.flushall()

    return _in_the_middle(scene, flush)


def redis_stopped(scene: Scene) -> Strike:
    """Redis takes connections and does not answer, for eight seconds."""

    def stop() -> None:
        scene.bed.redis.send(signal.SIGSTOP)
        time.sleep(_PAUSE_SECONDS)
        scene.bed.redis.send(signal.SIGCONT)

    return _in_the_middle(scene, stop)


def redis_paused(scene: Scene) -> Strike:
    """Redis holds all commands back for eight seconds."""

    def pause() -> None:
        with scene.bed.broker() as broker:
            broker.client_pause(int(1000 * _PAUSE_SECONDS))
        time.sleep(_PAUSE_SECONDS)

    return _in_the_middle(scene, pause)


def postgres_restarted(scene: Scene) -> Strike:
    """Postgres is ended in immediate mode and started again, three times, while jobs run and are submitted."""

    def restart() -> None:
        for _ in range(3):
            scene.about_to_strike()
            _restart_postgres(scene)
            time.sleep(scene.random.uniform(0.5, 2.0))

    return _in_the_middle(scene, restart)


def postgres_restarted_under_uploads(scene: Scene) -> Strike:
    """The same while large models are uploaded. Each that was acknowledged has to be there, byte by byte."""
    kept: list[tuple[Path, str]] = []

    def upload(path: Path) -> None:
        kept.append((path, scene.bed.client.upload(path)))

    paths = [path for name, path in scene.models.items() if name.startswith("large")]
    scene.submit()
    scene.until_under_way()
    threads = [threading.Thread(target=upload, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(scene.random.uniform(0.2, 1.0))
        scene.about_to_strike()
        _restart_postgres(scene)
    strike = Strike(over=time.time())
    for thread in threads:
        thread.join()
    strike.promise(len(kept) == len(paths), "an upload was not acknowledged in the end")
    for path, model in kept:
        content = scene.bed.client.persist("GET", f"models/{model}/content").content
        same = sha256(content).digest() == sha256(path.read_bytes()).digest()
        strike.promise(same, f"the upload {path.name} came back with other bytes")
    strike.notes["uploads"] = len(kept)
    return strike


def crash_before_publishing(scene: Scene) -> Strike:
    """The API is killed after its commit and before its hint.

    Redis is stopped, so that publishing waits; once rows are committed, the API is killed, and then Redis, so that
    nothing is left in a buffer. What the client submits at that moment has no answer yet, and it asks again.
    """
    some = max(4, scene.jobs // 10)
    scene.submit(some, rate=1000.0)
    scene.submit_to_peers(some, rate=1000.0)
    scene.join()
    scene.bed.redis.send(signal.SIGSTOP)
    before = len(scene.rows())
    scene.submit(scene.jobs - some, rate=1000.0)
    scene.submit_to_peers(scene.jobs - some, rate=1000.0)
    scene.until(lambda: len(scene.rows()) >= before + 4, "jobs are committed")
    scene.about_to_strike()
    scene.bed.api.kill()
    for peer in scene.peers:
        peer.api.kill()
    _away(scene, signal.SIGKILL)
    return Strike(over=time.time(), unanswered=True)


def hints_resent(scene: Scene) -> Strike:
    """The hints of ten jobs are delivered twenty times more, in no order."""
    scene.submit()
    scene.until_under_way()
    scene.join()
    scene.about_to_strike()
    ids = [job.id for job in scene.random.sample(scene.rows(), _RESENT_JOBS)] * _RESENT
    scene.random.shuffle(ids)
    hints = Hints(scene.bed.redis_url)
    for job_id in ids:
        hints.publish(job_id)
    hints.close()
    for peer in scene.peers:
        peer.resend(scene.batch, _RESENT_JOBS, _RESENT)
    return Strike(over=time.time())


def _in_the_middle(scene: Scene, do: Callable[[], None]) -> Strike:
    scene.submit()
    scene.until_under_way()
    do()
    return Strike(over=time.time())


def _away(scene: Scene, number: signal.Signals) -> None:
    scene.bed.redis.down(number)
    time.sleep(_AWAY_SECONDS)
    scene.bed.redis.up()


def _restart_postgres(scene: Scene) -> None:
    scene.bed.postgres.down(signal.SIGQUIT)
    scene.bed.postgres.up()


FAULTS = (
    Fault("redis-killed", "SIGKILL of Redis, back after 2 s", redis_killed, REDIS_BOUND),
    Fault("redis-restarted", "Redis restarted 5 times", redis_restarted, REDIS_BOUND),
    Fault("redis-flushed", "Redis: FLUSHALL, twice", redis_flushed, REDIS_BOUND),
    Fault("redis-stopped", "Redis: SIGSTOP for 8 s", redis_stopped, REDIS_BOUND),
    Fault("redis-paused", "Redis: CLIENT PAUSE for 8 s", redis_paused, REDIS_BOUND),
    Fault("postgres-restarted", "Postgres restarted 3 times, immediate mode", postgres_restarted, POSTGRES_BOUND),
    Fault(
        "postgres-uploads",
        "the same in the middle of uploads",
        postgres_restarted_under_uploads,
        POSTGRES_BOUND,
        peers=False,
    ),
    Fault("commit-crash", "API killed between commit and publish", crash_before_publishing, REDIS_BOUND),
    Fault("hints-resent", "10 hints delivered 20 times more", hints_resent),
)

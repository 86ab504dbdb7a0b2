"""Breaks the running service in every way we know, and counts what became of the jobs it had acknowledged.

    .venv/bin/python bench/faults.py [--only NAME…] [--jobs 200] [--seed 0] [--json FILE] [--work DIR] [--list]

Each fault befalls a service of Postgres, Redis, an API and two workers, all processes of this machine, at its default
settings unless `bench/chaos/faults/` says otherwise. Dead processes are started again after a second, as any supervisor
does. A client submits N short jobs over REST and logs each 202 that it has read. Afterwards none of these may be lost,
done twice, have an artifact of another hash, or need a human; and the service must have recovered within the bound.

    unfinished  not ended when it struck, at the blow where they were fewest. None: the fault would have shown nothing
    retried     took more than one attempt: these the fault has hit
    lost        never reached an end
    twice       two committed results (`chaos.reckoning.Tally` says what counts)
    bad hash    artifacts whose downloaded bytes do not have their hash
    human       jobs not ended when nothing moved any more, or ended otherwise than they should
    recovery    where jobs were hit: seconds from the kill until the last of them was taken up again. Where a server
                was: seconds from when it answers again until every worker has taken up a job

Beside it, on the same Postgres and Redis and under the same fault: plain Celery with late and with early acks
(`chaos/celery_app.py` says how it is set up, and what its jobs do). Exits 1 if a promise of Octet's is broken.

The seed decides when a fault strikes and whom. What needs root (small disks) or libfaketime (clocks) is skipped where
that is not to be had, and the table says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from chaos import models, scorecard
from chaos.bed import Bed
from chaos.disks import may_mount
from chaos.faults import FAULTS
from chaos.reckoning import reckon
from chaos.scene import Fault, Scene
from chaos.scorecard import Score
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

console = Console(width=150, highlight=False)


class Beds:
    """Gives each fault a service to break: that of the fault before it, if it was set up the same and is sound."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bed: Bed | None = None
        self._number = 0

    def bed(self, fault: Fault) -> Bed:
        if self._bed is None or self._bed.setup != fault.setup:
            self.close()
            self._number += 1
            self._bed = Bed(self._folder / f"bed-{self._number}", fault.setup).__enter__()
        if fault.peers:
            self._bed.start_peers()
        self._bed.wait_ready()
        return self._bed

    def close(self) -> None:
        bed, self._bed = self._bed, None
        if bed is not None:
            bed.__exit__()


def impossible(fault: Fault) -> str | None:
    """Why a fault cannot be tried on this machine."""
    small_disk = fault.setup.postgres_mib or fault.setup.scratch_mib
    if small_disk and not may_mount():
        return "skipped: this needs root, to mount a small disk"
    if any(fault.setup.clocks) and shutil.which("faketime") is None:
        return "skipped: this needs libfaketime (the package `faketime`)"
    return None


def befall(bed: Bed, fault: Fault, jobs: int, seed: int, paths: dict[str, Path]) -> Score:
    """Let a fault befall the service, wait until all has settled, and count."""
    score = Score(fault)
    chance = random.Random(f"{seed} {fault.name}")  # noqa: S311 - to be repeated, not to be secret
    scene = Scene(bed, fault.name, jobs, random=chance, models=paths, peers=fault.peers)
    try:
        strike = fault.strike(scene)
        scene.join()
        with ThreadPoolExecutor() as pool:
            numbers = range(scene.asked_of_peers)
            by_row = strike.unanswered
            unfinished = scene.unfinished_when_struck
            peers = {
                peer.name: pool.submit(
                    peer.settle, scene.batch, numbers, by_row=by_row, unfinished=unfinished.get(peer.name, 0)
                )
                for peer in scene.peers
            }
            scene.settle()
            score.peers = {name: tally.result() for name, tally in peers.items()}
        score.unfinished = unfinished.get("octet", 0)
        score.tally = reckon(scene, strike)
        score.broken = strike.broken + _broken(score, fault)
        score.notes = strike.notes
        if scene.internal_errors:
            score.notes["requests answered with 500"] = scene.internal_errors
    finally:
        scene.close()
    return score


def _broken(score: Score, fault: Fault) -> list[str]:
    assert score.tally is not None
    broken = [] if score.tally.clean else [f"{reason} ({count} jobs)" for reason, count in score.tally.reasons.items()]
    if not score.tally.clean:
        broken.append("jobs were lost, done twice, damaged or left to a human")
    if not score.unfinished:
        broken.append("it struck when no job was left: give it more jobs")
    if fault.bound:
        took = score.tally.recovery
        if took is None:
            broken.append("nothing was left to recover: give it more jobs")
        elif took > fault.bound:
            broken.append(f"recovery took {took:.1f} s")
    return broken


def run(faults: Sequence[Fault], jobs: int, seed: int, folder: Path) -> Iterator[Score]:
    """The score of each fault, as it comes."""
    paths = models.make(folder / "models")
    beds = Beds(folder)
    try:
        for fault in faults:
            if why := impossible(fault):
                console.print(f"{fault.name:<22}", end="")
                yield Score(fault, skipped=why)
                continue
            began = time.monotonic()
            console.print(f"{fault.name:<22}", end="")
            try:
                score = befall(beds.bed(fault), fault, jobs, seed, paths)
            except Exception as error:  # noqa: BLE001 - a fault that the bench itself does not survive is a failed one
                traceback.print_exc()
                score = Score(fault, broken=[f"{type(error).__name__}: {error}"])
            if score.broken:
                beds.close()
            score.seconds = time.monotonic() - began
            yield score
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not cut the ending short
            signal.signal(number, signal.SIG_IGN)
        beds.close()


def main() -> None:
    """Print the scorecard; exit 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="these faults only")
    parser.add_argument("--jobs", type=int, default=200, help="jobs per fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scorecard here as well")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep logs and data here; default: nothing is kept")
    parser.add_argument("--list", action="store_true", help="show the faults, and stop")
    asked = parser.parse_args()
    # Those that need the same service, one after the other.
    setups = [fault.setup for fault in FAULTS]
    chosen = sorted((each for each in FAULTS if each.name in asked.only), key=lambda each: setups.index(each.setup))
    if asked.list:
        for fault in chosen:
            console.print(f"{fault.name:<22}{fault.what}")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: end everything, then tell what there is
    scores: list[Score] = []
    with _folder(asked.work) as folder, contextlib.suppress(KeyboardInterrupt):
        for score in run(chosen, asked.jobs, asked.seed, folder):
            scores.append(score)
            verdict = "skipped" if score.skipped else "BROKEN" if score.broken else "kept"
            console.print(f"{verdict:<9}{score.seconds:5.0f} s")
            for broken in score.broken:
                console.print(f"    {broken}", style="red", markup=False)
    console.print(scorecard.table(scores))
    for line in scorecard.words(scores):
        console.print(line, markup=False)
    if asked.json:
        document = {"jobs": asked.jobs, "seed": asked.seed, "faults": [score.to_json() for score in scores]}
        asked.json.write_text(json.dumps(document, indent=2), encoding="utf-8")
        asked.json.with_suffix(".md").write_text(scorecard.markdown(scores) + "\n", encoding="utf-8")
    raise SystemExit(len(scores) < len(chosen) or any(score.broken for score in scores))


@contextlib.contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(prefix="run-", dir=work))
        return
    with tempfile.TemporaryDirectory(prefix="octet-faults-", ignore_cleanup_errors=True) as name:
        yield Path(name)


if __name__ == "__main__":
    main()

"""What is in the room, as the runner finds it on the host."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

import octet
from octet.measuring import LOCK_FILE
from worker.limits import limits, threads
from worker.sandbox.layer import Room
from worker.sandbox.namespaces import ids
from worker.sandbox.resources import TASKS
from worker.sandbox.user import id_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from store.settings import Settings

# Where Linux keeps libraries, and what those read as they run.
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime",
    "/sys/bus/pci", "/sys/devices", "/sys/kernel/mm", "/sys/module",
    "/dev/zero", "/dev/random", "/dev/urandom",
)  # fmt: skip
_OF_A_PREFIX = ("bin", "lib", "lib64", "pyvenv.cfg")


def furnish(home: Path, settings: Settings, *, slot: int) -> Room:
    """The room for a slot, whose own directory is `home`."""
    if not LOCK_FILE.exists():
        LOCK_FILE.touch(0o644)  # jobs may only open it
    return Room(
        home=home,
        readable=_outermost(path for path in _readable() if path.exists()),
        devices=[Path("/dev/null"), *(path for path in sorted(Path("/dev").glob("nvidia*")) if not path.is_dir())],
        lock=LOCK_FILE,
        limits=limits(settings),
        threads=threads(settings),
        tasks=TASKS + (0 if os.geteuid() == 0 else _tasks_of(os.getuid())),
        nice=settings.job_nice,
        uid=id_for(slot),
        outside=ids(),
    )


def _tasks_of(uid: int) -> int:
    """Threads of a user; the kernel counts them together."""
    found = psutil.process_iter(["uids", "num_threads"])
    return sum(each.info["num_threads"] or 1 for each in found if each.info["uids"] and each.info["uids"].real == uid)


def _readable() -> Iterator[Path]:
    ours = Path(__file__).parents[1]
    yield ours
    yield Path(octet.__file__).parent
    for prefix in {sys.prefix, sys.base_prefix}:
        for part in _OF_A_PREFIX:
            yield Path(prefix, part)
    for entry in map(Path, sys.path):
        # Not a checkout: the data directory may be in it, and secrets in that.
        if entry.is_absolute() and not ours.is_relative_to(entry):
            yield entry
    if (torch := find_spec("torch")) is not None and torch.origin is not None:
        yield Path(torch.origin).parents[1]  # where we lie as well, if all was installed into a directory of its own
    yield from map(Path, _SYSTEM)
    yield LOCK_FILE


def _outermost(paths: Iterable[Path]) -> list[Path]:
    kept: list[Path] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept

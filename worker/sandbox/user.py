"""A user who owns nothing, and no capabilities (capabilities(7)).

Where the worker is root, each slot has a user id to itself that no account has, from the range that systemd's table of
ids leaves unused. Otherwise a process stays the worker's own user's, who is not root to begin with.
"""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING

from worker.sandbox.kernel import call
from worker.sandbox.layer import Layer, Occupant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.sandbox.layer import Room

FIRST = 1_900_000_000
SLOTS = 32  # ids for each worker
_WORKER = secrets.randbelow(2**22)  # not by its process id: in containers, workers of one host often have the same
_CAPABILITIES = 64  # there are fewer: the first that there is not ends the list
_PR_CAPBSET_DROP = 24  # linux/prctl.h
_VERSION_3, _SETS = 0x20080522, 24  # linux/capability.h: its newest form, and the size of its three sets
_NEEDED = {"chown": 0, "dac_override": 1, "kill": 5, "setgid": 6, "setuid": 7}


def id_for(slot: int) -> int | None:
    """The user id for a slot of this worker; None where the worker is not root."""
    return FIRST + _WORKER * SLOTS + slot % SLOTS if os.geteuid() == 0 else None


def give(path: str | os.PathLike[str], room: Room) -> None:
    """Make the slot's user the owner of a file."""
    if room.uid is not None:
        os.chown(path, room.uid, room.uid)


def settled(room: Room) -> Room:
    """The room with its user, or without one and with the reason, should that user not reach what it needs.

    Nobody else may pass through its directory: a job could leave there what others read, or run as its owner.
    """
    if room.uid is None:
        return room
    try:
        _check_capabilities()
        os.chown(room.home, -1, room.uid)
        room.home.chmod(0o710)
        with _as_if(room.uid):
            for path in (*room.readable, room.home):
                path.stat()
    except OSError as error:
        why = f"stays root, for another user cannot be had: {error.strerror}: {error.filename or room.uid}"
        return room.model_copy(update={"uid": None, "stays": why})
    return room


def _check_capabilities() -> None:
    """Root in a container may lack what it takes to become another user, and to end and sweep up after that one."""
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    if lacking := [name for name, bit in _NEEDED.items() if not held >> bit & 1]:
        raise PermissionError(None, f"lacks {', '.join(lacking)}")


@contextmanager
def _as_if(uid: int) -> Iterator[None]:
    os.setegid(uid)
    try:
        os.seteuid(uid)  # takes the effective capabilities with it
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def _put_up(occupant: Occupant) -> str:
    uid = occupant.room.uid
    with suppress(OSError):  # where it may not, there is little to drop
        for capability in range(_CAPABILITIES):
            call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if sys.platform == "linux":
        call("capset", pack("=Ii", _VERSION_3, 0), bytes(_SETS))
    if os.geteuid() == 0:
        raise PermissionError(None, occupant.room.stays or "stays root")
    return f"{os.geteuid()}, whom nothing else belongs to" if uid is not None else f"{os.geteuid()}, as the worker"


def _get_past(_: Occupant) -> None:
    os.setresuid(0, 0, 0)


LAYER = Layer("user", _put_up, _get_past)

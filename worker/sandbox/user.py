"""A user who owns nothing, and no capabilities (capabilities(7)).

Where the worker is root, each slot has a user id to itself that no account has, from the range that systemd's table of
ids leaves unused. Otherwise a process stays the worker's own user's, who is not root to begin with.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from struct import pack
from typing import TYPE_CHECKING

from worker.sandbox.kernel import call
from worker.sandbox.layer import Layer, Occupant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.sandbox.layer import Room

FIRST = 1_900_000_000
SLOTS = 32  # ids for each process id that a worker may have, of which Linux has 2**22
_CAPABILITIES = 64  # there are fewer: the first that there is not ends the list
_PR_CAPBSET_DROP = 24  # linux/prctl.h
_VERSION_3, _SETS = 0x20080522, 24  # linux/capability.h: its newest form, and the size of its three sets


def id_for(slot: int) -> int | None:
    """The user id for a slot of this worker; None where the worker is not root."""
    return FIRST + os.getpid() * SLOTS + slot % SLOTS if os.geteuid() == 0 else None


def give(path: str | os.PathLike[str], room: Room) -> None:
    """Make the slot's user the owner of a file."""
    if room.uid is not None:
        os.chown(path, room.uid, room.uid)


def settled(room: Room) -> Room:
    """The room with its user, or without one and with the reason, should that user not reach what it needs."""
    if room.uid is None:
        return room
    try:
        with _as_if(room.uid):
            for path in (*room.readable, room.home):
                path.stat()
    except OSError as error:
        why = f"stays root, for another user cannot: {error.strerror}: {error.filename or room.uid}"
        return room.model_copy(update={"uid": None, "stays": why})
    return room


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

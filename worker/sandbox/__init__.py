"""What keeps a job's process from what it has no need of: one file per layer, and here the list of them.

A graph has no operator for any of it. This is for the day on which a kernel of torch turns out to have a hole. No layer
counts on another one: where a platform lacks one, the others stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.wire import SandboxLayer
from worker.sandbox import landlock, lifeline, namespaces, privileges, resources, seccomp, user
from worker.sandbox.layer import Layer, Limits, Occupant, Room

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LAYERS", "Layer", "Limits", "Occupant", "Room", "confine"]

LAYERS: Sequence[Layer] = (
    namespaces.LAYER,
    resources.LAYER,
    user.LAYER,
    lifeline.LAYER,  # a change of user undoes it
    privileges.LAYER,  # the next two ask for it
    landlock.LAYER,
    seccomp.LAYER,  # last: it refuses what putting up the others takes
)


def confine(occupant: Occupant) -> list[SandboxLayer]:
    """Put every layer around this process, for good, and try to get past each.

    The process must have one thread: some layers bind only the thread that puts them up, and what that one starts.

    Returns:
        Which of them hold here, in the order of LAYERS.
    """
    standing = [(layer, *_put_up(layer, occupant)) for layer in LAYERS]
    return [
        SandboxLayer(name=layer.name, holds=up and _holds(layer, occupant), detail=detail)
        for layer, up, detail in standing
    ]


def _put_up(layer: Layer, occupant: Occupant) -> tuple[bool, str]:
    try:
        return True, layer.put_up(occupant)
    except OSError as error:
        return False, error.strerror or str(error)


def _holds(layer: Layer, occupant: Occupant) -> bool:
    try:
        layer.get_past(occupant)
    except OSError:
        return True
    return False

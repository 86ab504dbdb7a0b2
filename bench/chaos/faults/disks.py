"""Disks that fill up, and are freed."""

from __future__ import annotations

import time

from chaos.bed import Setup
from chaos.disks import filled
from chaos.scene import Fault, Scene, Strike

_FULL_SECONDS = 8.0


def disk_full(scene: Scene) -> Strike:
    """Not a byte is left on the small disk for eight seconds."""
    scene.submit()
    scene.until_under_way()
    assert scene.bed.disk is not None
    with filled(scene.bed.disk):
        time.sleep(_FULL_SECONDS)
    scene.bed.postgres.wait_ready()  # it may have ended itself, and is started again like any other process
    return Strike(over=time.time())


FAULTS = (
    Fault("disk-full-postgres", "Postgres' disk full for 8 s", disk_full, bound=15, setup=Setup(postgres_mib=256)),
    Fault(
        "disk-full-scratch",
        "the workers' scratch disk full for 8 s",
        disk_full,
        bound=20,
        setup=Setup(scratch_mib=256),
        peers=False,
    ),
)

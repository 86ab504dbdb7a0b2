"""The faults, by what they hit. Each is a row of a table, and a function that returns when the fault is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.faults import cancelling, disks, hostile, processes, servers, upgrade, workers

if TYPE_CHECKING:
    from chaos.scene import Fault

FAULTS: tuple[Fault, ...] = (
    *processes.FAULTS,
    *workers.FAULTS,
    *servers.FAULTS,
    *disks.FAULTS,
    *hostile.FAULTS,
    *cancelling.FAULTS,
    *upgrade.FAULTS,
)

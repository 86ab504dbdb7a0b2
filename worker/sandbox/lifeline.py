"""The kernel ends a process when the warm one that it was forked from dies, whatever it is doing then (prctl(2))."""

from __future__ import annotations

import os
import signal

from worker.sandbox.kernel import call
from worker.sandbox.layer import Layer, Occupant

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _put_up(occupant: Occupant) -> str:
    call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != occupant.parent:  # it was quicker
        os._exit(1)
    return "ends with the process that it was forked from"


def _get_past(occupant: Occupant) -> None:
    call("prctl", _PR_SET_PDEATHSIG, 0, 0, 0, 0)
    _put_up(occupant)  # who means no harm keeps it


LAYER = Layer("lifeline", _put_up, _get_past)

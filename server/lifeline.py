"""A process that must not outlive the one that started it: its standard input is a pipe that only its parent holds."""

from __future__ import annotations

import os
import signal
import sys
from threading import Thread


def hold() -> None:
    """From now on, stop in good order as soon as standard input ends: also when the parent was killed."""
    Thread(target=_wait, name="lifeline", daemon=True).start()


def _wait() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

"""A process that must not outlive the one that started it: its standard input is a pipe that only its parent holds."""

from __future__ import annotations

import os
import signal
import sys
import time
from threading import Thread

_SECONDS = 0.5


def hold() -> None:
    """From now on, stop as soon as standard input ends: also when the parent was killed."""
    Thread(target=_wait, name="lifeline", daemon=True).start()


def _wait() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    # The second one lets nothing finish at leisure: what it would be finished with is gone as well.
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_SECONDS)

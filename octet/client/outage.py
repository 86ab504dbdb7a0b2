"""Bearing with a service that does not answer, because it is being restarted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from octet.errors import OctetError

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


class Outage:
    """Pauses between tries, longer each time, and gives up when it has lasted too long.

    Args:
        patience: Seconds an outage may last.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.over()

    def over(self) -> None:
        """The service has answered."""
        self._began: float | None = None
        self._pause = _FIRST_PAUSE

    def bear(self, error: OctetError, seconds: float = 0.0) -> None:
        """Pause before the next try, for `seconds` at least, or raise `error` if that would be too long."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        left = self._began + self._patience - now
        if left <= 0 or seconds > left:
            raise error
        time.sleep(max(self._pause, seconds))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

"""Bearing with a service that does not answer, because it is being restarted, or asks for a pause."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from octet.client.errors import ServiceError, ServiceUnreachableError

if TYPE_CHECKING:
    from octet.errors import OctetError

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


class Outage:
    """Pauses between tries, longer each time, and gives up when it has lasted too long.

    Args:
        patience: Seconds an outage may last.
        until: When, by `time.monotonic`, no pause goes on.
        passing: Statuses of refusals that pass by themselves, beside those for which the service asks for a pause.
    """

    def __init__(self, patience: float, until: float = math.inf, passing: frozenset[int] = frozenset()) -> None:
        self._patience = patience
        self._until = until
        self._passing = passing
        self.over()

    def over(self) -> None:
        """The service has answered."""
        self._began: float | None = None
        self._pause = _FIRST_PAUSE

    def bear(self, error: OctetError) -> None:
        """Pause before the next try, for as long as the service asks at least.

        Raises:
            OctetError: `error`, if it does not pass, or not in the time that is left.
        """
        asked = error.retry_after if isinstance(error, ServiceError) else 0.0
        now = time.monotonic()
        if self._began is None:
            self._began = now
        left = self._began + self._patience - now
        if not self._passes(error) or left <= 0 or asked > left:
            raise error
        time.sleep(max(0.0, min(max(self._pause, asked), self._until - now)))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _passes(self, error: OctetError) -> bool:
        if isinstance(error, ServiceError):
            return error.retry_after > 0 or error.status in self._passing
        return isinstance(error, ServiceUnreachableError)

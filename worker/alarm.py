"""The one reason for which a running job must stop, whoever raises it."""

from __future__ import annotations

import socket
from threading import Lock
from typing import Literal

Reason = Literal["cancelled", "lost", "stopping"]


class Interrupted(Exception):  # noqa: N818 - an event, not a mistake
    """The alarm has rung."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Alarm:
    """Raised from any thread, at most once; readable, in the sense of `select`, from then on.

    Attributes:
        reason: `cancelled`: its owner wants it no more. `lost`: the lease is gone, and maybe somebody else has the job.
            `stopping`: this worker ends. None as long as the job may go on.
    """

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self._lock = Lock()
        self._reader, self._writer = socket.socketpair()

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._reader.fileno()

    def ring(self, reason: Reason) -> None:
        """Stop the job for `reason`, unless it is being stopped already."""
        with self._lock:
            if self.reason is None:
                self.reason = reason
                self._writer.send(b"!")

    def heed(self) -> None:
        """Go on only if it has not rung: to be called now and then by what takes long.

        Raises:
            Interrupted: If it has.
        """
        if self.reason is not None:
            raise Interrupted(self.reason)

    def close(self) -> None:
        """Free the descriptors; not while anyone may still ring."""
        self._reader.close()
        self._writer.close()

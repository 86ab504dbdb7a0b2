"""Who is sending parts of which upload, in this process."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

_PATIENCE_SECONDS = 2.0


class Writers:
    """Lets whoever takes up an upload wait for what a connection that broke has left to store.

    Nothing would be lost without it: Postgres lets one write at a time, and knows how far they are. But an offset told
    before the last bytes are stored makes the caller send them again.
    """

    def __init__(self) -> None:
        self._at: dict[UUID, asyncio.Event] = {}

    @contextmanager
    def writing(self, upload_id: UUID) -> Iterator[None]:
        """While a part is being stored."""
        done = self._at[upload_id] = asyncio.Event()
        try:
            yield
        finally:
            done.set()
            if self._at.get(upload_id) is done:
                del self._at[upload_id]

    async def settle(self, upload_id: UUID, seconds: float | None = _PATIENCE_SECONDS) -> None:
        """Wait until nobody is storing a part.

        For a moment only, since a connection may hang without being broken; with None until the end, as when all bytes
        are in and the file is read through.
        """
        if (done := self._at.get(upload_id)) is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), seconds)

"""Celery's pool of threads, one per slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.concurrency.thread import TaskPool

if TYPE_CHECKING:
    from kombu.asynchronous import Hub


class SlotPool(TaskPool):  # type: ignore[misc] # Celery ships no type information
    """Threads suffice: a slot does nothing but wait for its child process. And nothing forks a process full of threads.

    While all slots are busy, Celery's event loop asks for no more hints, and only looks again when something wakes it,
    after up to a second. This pool wakes it as soon as a slot is free.
    """

    _hub: Hub | None = None

    def register_with_event_loop(self, loop: Hub) -> None:
        """Called by Celery whenever its loop starts: at first, and after a lost connection."""
        self._hub = loop

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        """Run a task in a free thread."""
        result = super().on_apply(*args, **kwargs)
        result.f.add_done_callback(lambda _: self._wake())
        return result

    def _wake(self) -> None:
        if self._hub is not None:
            self._hub.call_soon(_nothing)  # type: ignore[no-untyped-call] # likewise


def _nothing() -> None:
    pass

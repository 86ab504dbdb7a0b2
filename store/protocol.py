"""What a job asks of the worker that does it.

During an upgrade old and new workers run side by side. A job carries the number of the protocol that it needs, and a
worker takes no job whose number is above its own: such a job waits for a worker that knows it.
"""

from __future__ import annotations

PROTOCOL = 1
"""Raised by any change after which an older worker would do a job wrongly, such as a new key of the recipe."""

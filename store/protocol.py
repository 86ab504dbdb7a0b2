"""What a job asks of the worker that does it.

During an upgrade old and new workers run side by side. A job carries the number of the protocol that it needs, and a
worker takes no job whose number is above its own: such a job waits for a worker that knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Keys of a recipe that came later, and with which protocol. A key that is not used is not in the recipe's JSON: older
# workers can read that.
_SINCE = {"timeout_seconds": 2}

PROTOCOL = 2
"""Raised by any change after which an older worker would do a job wrongly, such as a new key of the recipe."""


def needed(recipe: Mapping[str, Any]) -> int:
    """The least protocol that can do a job with this recipe, given as JSON."""
    return max((since for key, since in _SINCE.items() if key in recipe), default=1)

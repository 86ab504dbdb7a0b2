"""Room on the disk where uploads wait while they are checked."""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING

from api.errors import StorageFullError

if TYPE_CHECKING:
    from store.settings import Settings


def require_room(settings: Settings, size: int = 0) -> None:
    """Look whether `size` more bytes leave as much room as the settings want.

    Raises:
        StorageFullError: If they do not.
    """
    free = shutil.disk_usage(settings.spool_dir or tempfile.gettempdir()).free
    if free - size < settings.min_free_bytes:
        raise StorageFullError("The service has no room for the upload.", hint="Try again later, or ask its operator.")

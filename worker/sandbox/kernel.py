"""Calls that Python has no function for."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> int:
    """Call a function of the C library that answers -1 where it fails.

    Raises:
        OSError: If it fails, or is not there.
    """
    try:
        function = getattr(_LIBC, name)
    except AttributeError:
        msg = f"This system has no {name}."
        raise OSError(msg) from None
    result = function(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)


def syscall(number: int, *arguments: Any) -> int:
    """Make a system call that the C library has no function for; its errors are those of `call`."""
    return call("syscall", ctypes.c_long(number), *arguments)

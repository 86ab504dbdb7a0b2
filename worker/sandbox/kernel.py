"""Calls that Python has no function for."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

_PR_SET_DUMPABLE = 4  # linux/prctl.h
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
    if sys.platform != "linux":
        raise OSError(None, "this system is not Linux")  # its calls have other numbers
    return call("syscall", ctypes.c_long(number), *arguments)


def hide_from_jobs() -> None:
    """Keep this process's environment and memory from other processes of its user (PR_SET_DUMPABLE, prctl(2))."""
    _set_dumpable(0)


def show_to_runner() -> None:
    """Undo that in a fork of such a process: a runner of the same user looks at what it has open."""
    _set_dumpable(1)


def _set_dumpable(value: int) -> None:
    if sys.platform == "linux":
        call("prctl", _PR_SET_DUMPABLE, value, 0, 0, 0)

"""What malloc does with memory that is freed, while a model is run again and again to be quantized."""

from __future__ import annotations

import ctypes
import platform
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of <malloc.h>: how much free memory at the end of the heap goes back to the kernel, and from what size on a block is
# a mapping of its own, which goes back as soon as it is freed. Both in bytes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1
_LARGEST = 32 * 2**20  # where glibc's own adjustment of the latter ends: mallopt(3)


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Let malloc keep what is freed in this block, and give it back at its end.

    glibc gives a tensor of more than 32 MiB back to the kernel as soon as it is freed, and gets the next one from it,
    page by page and filled with zeros. Every step of a training frees and takes the same sizes again, and may spend
    more time on that than on arithmetic: `bench/training_memory.py`. Afterwards the thresholds are those that glibc
    itself comes to once it has freed a block of that size. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _NEVER)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
        libc.malloc_trim(0)

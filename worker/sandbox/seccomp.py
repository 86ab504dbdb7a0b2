"""System calls that a process of a job may not make, by seccomp(2), in the classic BPF of `linux/filter.h`.

A list of what is refused, not of what is allowed: which calls torch makes changes with its version, its kernels and the
C library. What is not refused reaches nothing outside by itself: files are Landlock's matter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
from struct import pack
from typing import TYPE_CHECKING

from worker.sandbox.kernel import syscall
from worker.sandbox.layer import Layer, Occupant
from worker.sandbox.syscalls import MACHINES, numbers

if TYPE_CHECKING:
    from collections.abc import Callable

_SECCOMP = {"x86_64": 317, "aarch64": 277}  # the number of the call itself
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_NO_MITIGATION = 4  # which would slow down what is measured

_LOAD, _EQUAL, _AT_LEAST, _MASK, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_REFUSE = _ERROR | errno.EPERM
_UNKNOWN = _ERROR | errno.ENOSYS  # the C library falls back to an older call
_PRETEND = _ERROR  # nothing is done, and success reported
_FOREIGN = 0x40000000  # from here on, x86-64's second set of numbers

# linux/sched.h, linux/prctl.h, linux/fs.h, linux/fsverity.h; mman.h, fcntl.h, ioctls.h and sockios.h of asm-generic
_THREAD = 0x10000 | 0x400  # a thread, with the descriptors of the others: what one alone had, nobody would see
_PDEATHSIG, _DUMPABLE, _PTRACER = 1, 4, 0x59616D61
_SHARED, _ANONYMOUS, _GROWS, _HUGE = 0x01, 0x20, 0x100, 0x40000
_CUT, _WRITE_ONLY, _READ_AND_WRITE = 0x200, 1, 2
_OWNER, _SIGNAL, _OWNER_EX, _LEASE, _NOTIFY = 8, 10, 15, 1024, 1026
_TERMINAL = (0x5412, 0x541C, 0x5423)  # type into it, the console, its line discipline
_OWNERS = (0x8901, 0x8902)
_ATTRIBUTES = (0x40086602, 0x401C5820, 0x40806685)


def _instruction(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """One instruction; a jump counts the instructions that it leaves out."""
    return pack("HBBI", code, then, otherwise, value)


def _return(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _argument(position: int) -> bytes:
    """Load the lower half of an argument; all that are looked at are ints to the kernel, or flags of the lower half."""
    return _instruction(_LOAD, _ARGUMENTS + 8 * position)


def _if_one_of(position: int, values: tuple[int, ...], mask: int, verdicts: tuple[int, int]) -> bytes:
    """The first verdict if what the mask leaves of an argument is one of the values, otherwise the second."""
    checks = [_instruction(_EQUAL, value, then=len(values) - at) for at, value in enumerate(values)]
    then, otherwise = map(_return, verdicts)
    return b"".join((_argument(position), _instruction(_MASK, mask), *checks, otherwise, then))


def _only(position: int, *values: int, mask: int = 0xFFFFFFFF) -> bytes:
    return _if_one_of(position, values, mask, (_ALLOW, _REFUSE))


def _unless(position: int, *values: int, mask: int = 0xFFFFFFFF) -> bytes:
    return _if_one_of(position, values, mask, (_REFUSE, _ALLOW))


def _opening(position: int) -> bytes:
    """What is cut short is opened to be written: before its version 3, Landlock takes the rest for reading."""
    return _unless(position, _CUT, _CUT | _WRITE_ONLY | _READ_AND_WRITE, mask=_CUT | _WRITE_ONLY | _READ_AND_WRITE)


# What is not refused altogether.
_JUDGED: dict[str, Callable[[], bytes]] = {
    "clone": lambda: _only(0, _THREAD, mask=_THREAD),
    "clone3": lambda: _return(_UNKNOWN),  # its flags cannot be seen
    "kill": lambda: _only(0, os.getpid()),
    "tgkill": lambda: _only(0, os.getpid()),
    "prlimit64": lambda: _only(0, 0),  # its own limits
    "prctl": lambda: _unless(0, _PDEATHSIG, _DUMPABLE, _PTRACER),
    # Not what is shared and has no file, not what grows by itself, not the host's huge pages: no limit counts it.
    "mmap": lambda: _only(3, 0, _SHARED, _ANONYMOUS, mask=_SHARED | _ANONYMOUS | _GROWS | _HUGE),
    "ioctl": lambda: _unless(1, *_TERMINAL, *_OWNERS, *_ATTRIBUTES),
    "fcntl": lambda: _unless(1, _OWNER, _SIGNAL, _OWNER_EX, _LEASE, _NOTIFY),  # the kernel signals an owner
    "socketpair": lambda: _only(0, socket.AF_UNIX),
    "sendto": lambda: _only(5, 0),  # whom it is connected to, and nobody by an address
    "open": lambda: _opening(1),
    "openat": lambda: _opening(2),
    "openat2": lambda: _return(_UNKNOWN),  # likewise
    # Landlock lets an owner change the mode of any file. Libraries do with what they write, where it matters to nobody.
    **dict.fromkeys(("chmod", "fchmod", "fchmodat", "fchmodat2"), lambda: _return(_PRETEND)),
}


def _filter(machine: str) -> bytes:
    blocks = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, _AUDIT[machine], then=1),
        _return(_REFUSE),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, _FOREIGN, otherwise=1),
        _return(_REFUSE),
    ]
    for name, number in numbers(machine).items():
        verdict = _JUDGED[name]() if name in _JUDGED else _return(_REFUSE)
        blocks += [_instruction(_EQUAL, number, otherwise=len(verdict) // 8), verdict]
    return b"".join((*blocks, _return(_ALLOW)))


def _put_up(_: Occupant) -> str:
    machine = platform.machine()
    if machine not in MACHINES:
        raise OSError(None, f"there is no list of system calls for {machine}")
    code = _filter(machine)
    instructions = ctypes.create_string_buffer(code)
    program = pack("HxxxxxxP", len(code) // 8, ctypes.addressof(instructions))
    syscall(_SECCOMP[machine], _SET_MODE_FILTER, _ALL_THREADS | _NO_MITIGATION, program)
    return "no sockets, no processes, no signals, no memory but its own"


def _get_past(_: Occupant) -> None:
    socket.socket().close()


LAYER = Layer("seccomp", _put_up, _get_past)

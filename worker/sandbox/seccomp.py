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

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _MASK, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_REFUSE = _ERROR | errno.EPERM
_FOREIGN = 0x40000000  # from here on, x86-64's second set of numbers

# linux/sched.h, linux/prctl.h, asm-generic/mman.h, asm-generic/ioctls.h
_THREAD = 0x10000
_PDEATHSIG, _DUMPABLE, _PTRACER = 1, 4, 0x59616D61
_SHARED_ANONYMOUS = 0x01 | 0x20
_TYPE_IN, _CONSOLE, _LINE_DISCIPLINE = 0x5412, 0x541C, 0x5423


def _instruction(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """One instruction; a jump counts the instructions that it leaves out."""
    return pack("HBBI", code, then, otherwise, value)


def _return(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _argument(position: int) -> bytes:
    """Load the lower half of an argument; all that are looked at are ints to the kernel, or flags of the lower half."""
    return _instruction(_LOAD, _ARGUMENTS + 8 * position)


def _unless_one_of(position: int, *values: int) -> bytes:
    checks = [_instruction(_EQUAL, value, then=len(values) - at) for at, value in enumerate(values)]
    return b"".join((_argument(position), *checks, _return(_ALLOW), _return(_REFUSE)))


def _only_if(position: int, value: int) -> bytes:
    return b"".join((_argument(position), _instruction(_EQUAL, value, then=1), _return(_REFUSE), _return(_ALLOW)))


def _only_with(position: int, bit: int) -> bytes:
    return b"".join((_argument(position), _instruction(_ANY_BIT, bit, then=1), _return(_REFUSE), _return(_ALLOW)))


def _unless_all(position: int, bits: int) -> bytes:
    masked = _argument(position) + _instruction(_MASK, bits)
    return b"".join((masked, _instruction(_EQUAL, bits, then=1), _return(_ALLOW), _return(_REFUSE)))


# What is not refused altogether.
_JUDGED: dict[str, Callable[[], bytes]] = {
    "clone": lambda: _only_with(0, _THREAD),  # a thread, not a process
    "clone3": lambda: _return(_ERROR | errno.ENOSYS),  # its flags cannot be seen; the C library falls back to clone
    "kill": lambda: _only_if(0, os.getpid()),
    "tgkill": lambda: _only_if(0, os.getpid()),
    "prlimit64": lambda: _only_if(0, 0),  # its own limits
    "prctl": lambda: _unless_one_of(0, _PDEATHSIG, _DUMPABLE, _PTRACER),
    "mmap": lambda: _unless_all(3, _SHARED_ANONYMOUS),  # no limit counts it
    "ioctl": lambda: _unless_one_of(1, _TYPE_IN, _CONSOLE, _LINE_DISCIPLINE),
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

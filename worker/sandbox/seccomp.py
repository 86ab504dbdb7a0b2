"""Keeps a job's process from what a job has no need of: other processes, the network, new privileges.

A graph has no operator for any of it. This is for the day on which a kernel of torch turns out to have a hole. The
filter is that of seccomp(2), in the classic BPF of `linux/filter.h`; it binds all threads, and what they start.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from struct import pack
from typing import NamedTuple

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_ALL_THREADS = 1
_NO_MITIGATION = 4  # which would slow down what is measured

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_FOREIGN = 0x40000000  # from here on, x86-64's second set of numbers


class _Machine(NamedTuple):
    audit: int
    seccomp: int
    refused: dict[str, int]


# Numbers of system calls, from the kernel's tables. socketpair is not among them: it reaches nobody else.
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        317,
        {
            "socket": 41, "connect": 42, "ptrace": 101, "mount": 165, "add_key": 248, "keyctl": 250, "unshare": 272,
            "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "bpf": 321, "io_uring_setup": 425,
            "pidfd_getfd": 438,
        },
    ),
    "aarch64": _Machine(
        0xC00000B7,
        277,
        {
            "socket": 198, "connect": 203, "ptrace": 117, "mount": 40, "add_key": 217, "keyctl": 219, "unshare": 97,
            "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "bpf": 280, "io_uring_setup": 425,
            "pidfd_getfd": 438,
        },
    ),
}  # fmt: skip


def confine() -> None:
    """Refuses these system calls to this process from now on, with EPERM. Does nothing where there is no seccomp.

    Raises:
        OSError: If the kernel will not have it.
    """
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        _fail("PR_SET_NO_NEW_PRIVS")
    code = _filter(machine)
    instructions = ctypes.create_string_buffer(code)
    program = pack("HxxxxxxP", len(code) // 8, ctypes.addressof(instructions))
    if libc.syscall(machine.seccomp, _SET_MODE_FILTER, _ALL_THREADS | _NO_MITIGATION, program):
        _fail("seccomp")


def _filter(machine: _Machine) -> bytes:
    numbers = list(machine.refused.values())
    # A jump counts the instructions that it leaves out; the last but one allows, the last one refuses.
    checks = [_instruction(_EQUAL, number, then=len(numbers) - at) for at, number in enumerate(numbers)]
    return b"".join(
        (
            _instruction(_LOAD, _ARCHITECTURE),
            _instruction(_EQUAL, machine.audit, then=1),
            _instruction(_RETURN, _REFUSE),
            _instruction(_LOAD, _NUMBER),
            _instruction(_AT_LEAST, _FOREIGN, then=len(numbers) + 1),
            *checks,
            _instruction(_RETURN, _ALLOW),
            _instruction(_RETURN, _REFUSE),
        )
    )


def _instruction(code: int, value: int, *, then: int = 0) -> bytes:
    return pack("HBBI", code, then, 0, value)


def _fail(what: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")

"""What of the file system a process sees at all, by landlock(7): it binds root as well, and needs no privilege.

Read: what Python, torch and we are made of. Write: the job's scratch. Where the kernel's Landlock is new enough: no
TCP, no abstract sockets and no signals to processes outside.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING

from worker.sandbox.kernel import syscall
from worker.sandbox.layer import Layer, Occupant

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1

# linux/landlock.h, LANDLOCK_ACCESS_FS_*
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE, _IOCTL_DEV = (1 << bit for bit in (7, 8, 13, 14, 15))
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_READ = _READ_FILE | _READ_DIR
# Plain files and directories: no links, devices, pipes or sockets for others to trip over.
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_USE = _READ_FILE | _WRITE_FILE | _IOCTL_DEV

# By version: how many rights over files there are, over TCP ports, and over what is outside.
KNOWN = {1: (13, 0, 0), 2: (14, 0, 0), 3: (15, 0, 0), 4: (15, 2, 0), 5: (16, 2, 0), 6: (16, 2, 2)}

_OF_THE_SYSTEM = (  # what libraries read of it as they run
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/devices", "/proc/driver",
    "/proc/sys/vm/overcommit_memory", "/sys/devices", "/sys/bus/pci", "/sys/kernel/mm", "/sys/module",
    "/dev/zero", "/dev/random", "/dev/urandom",
)  # fmt: skip


def _put_up(occupant: Occupant) -> str:
    version = syscall(_CREATE_RULESET, None, 0, _VERSION)
    files, ports, scopes = KNOWN[min(version, max(KNOWN))]
    handled = pack("QQQ", *((1 << count) - 1 for count in (files, ports, scopes)))
    size = 8 if version < 4 else 16 if version < 6 else 24  # noqa: PLR2004 - as it grew
    with _opened(syscall(_CREATE_RULESET, handled, size, 0)) as rules:
        for path in (*occupant.room.readable, *map(Path, _OF_THE_SYSTEM)):
            _allow(rules, path, _READ, files)
        for path in occupant.room.devices:
            _allow(rules, path, _USE, files)
        _allow(rules, occupant.scratch, _WRITE, files)
        syscall(_RESTRICT_SELF, rules, 0)
    more = ", no TCP" * (ports > 0) + ", no signals to others" * (scopes > 0)
    return f"version {version}: writes to its scratch alone, reads what it is made of{more}"


def _allow(rules: int, path: Path, rights: int, known: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not every system has every one, and nothing is lost if it cannot be read
        return
    with _opened(opened) as target:
        rights &= (1 << known) - 1
        if not path.is_dir():
            rights &= _OF_A_FILE
        syscall(_ADD_RULE, rules, _PATH_BENEATH, pack("=Qi", rights, target), 0)


@contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _get_past(_: Occupant) -> None:
    list(Path("/").iterdir())


LAYER = Layer("landlock", _put_up, _get_past)

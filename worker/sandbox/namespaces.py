"""Namespaces (namespaces(7)) around the warm process.

They give it a network that leads nowhere, and a file system that has nothing but what is in the room, read-only but for
the slot's directory. Bubblewrap makes them where it is installed and may, process ids of its own among them. Otherwise
we do, which root may on most hosts, and others where a user may make namespaces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from struct import pack

from worker.sandbox.kernel import call, syscall
from worker.sandbox.layer import Layer, Occupant, Room

_KINDS = {"net": "network", "mnt": "file system", "pid": "process ids", "ipc": "shared memory"}

# linux/sched.h, linux/mount.h
_NEW_MOUNTS, _NEW_UTS, _NEW_IPC, _NEW_USER, _NEW_NETWORK = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x40000000
_NO_SUID, _BIND, _RECURSIVE, _PRIVATE, _DETACH = 2, 4096, 16384, 1 << 18, 2
_MOUNT_SETATTR, _AT_RECURSIVE, _AT_FDCWD, _SET_READ_ONLY = 442, 0x8000, -100, 1

# What a warm process that is root keeps inside: to become the user of a slot, and to end and sweep up after that user.
_KEPT = ("SETUID", "SETGID", "SETPCAP", "CHOWN", "KILL", "DAC_OVERRIDE")


def ids() -> dict[str, str]:
    """The namespaces that this process is in; none where there are no such things."""
    return {kind: str(path.readlink()) for kind in _KINDS if (path := Path("/proc/self/ns", kind)).is_symlink()}


def bubblewrap(room: Room) -> list[str] | None:
    """What to put before a command, so that it runs in the room; None where bubblewrap is missing, or may not."""
    binary = shutil.which("bwrap")
    if binary is None:
        return None
    command = [binary, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--dev", "/dev"]
    command += ["--proc", "/proc"]
    inside = [path for path in room.readable if not path.is_relative_to("/dev")]
    for above in sorted({above for path in (*inside, room.home) for above in path.parents} - {Path("/")}):
        command += ["--perms", "0755", "--dir", str(above)]  # otherwise its owner alone could pass
    for path in inside:
        command += ["--ro-bind", str(path), str(path)]
    for path in room.devices:
        command += ["--dev-bind", str(path), str(path)]
    command += ["--bind", str(room.home), str(room.home), "--chdir", str(room.home)]
    command += ["--remount-ro", "/dev", "--remount-ro", "/"]  # bubblewrap's own, in memory that no limit counts
    if os.geteuid() == 0:
        for capability in _KEPT:
            command += ["--cap-add", f"CAP_{capability}"]
    tried = subprocess.run([*command, sys.executable, "-ISc", ""], capture_output=True, check=False)
    return command if tried.returncode == 0 else None


def enter(room: Room) -> None:
    """Put this process in namespaces of its own, unless bubblewrap has. It must have one thread.

    Raises:
        OSError: If the kernel will not have it.
    """
    if room.wrapped:
        return
    flags = _NEW_MOUNTS | _NEW_UTS | _NEW_IPC | _NEW_NETWORK
    if os.geteuid() == 0:
        call("unshare", flags)
    else:
        user, group = os.geteuid(), os.getegid()
        call("unshare", flags | _NEW_USER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    _move_in(room)


def _move_in(room: Room) -> None:
    """Make a root directory that has what is in the room, under the names that it has outside."""
    root = room.home / "root"
    root.mkdir()
    _mount(None, Path("/"), _RECURSIVE | _PRIVATE)  # nothing that is mounted from now on is seen outside
    _mount(None, root, _NO_SUID, kind=b"tmpfs")
    try:
        _fill(root, room)
        os.chdir(root)
        call("pivot_root", b".", b".")  # the old root lies on the new one then: pivot_root(2), NOTES
    except OSError:
        os.chdir(room.home)
        call("umount2", bytes(root), _DETACH)  # whoever removes the room must not find the host's own files in it
        root.rmdir()
        raise
    call("umount2", b".", _DETACH)
    root.rmdir()
    os.chdir(room.home)


def _fill(root: Path, room: Room) -> None:
    for path in (*room.readable, *room.devices, Path("/proc"), room.home):
        inside = root / path.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.mkdir() if path.is_dir() else inside.touch()
        _mount(path, inside, _BIND | _RECURSIVE * (path != room.home))
        if path != room.home:
            _close(inside, _AT_RECURSIVE)
    _close(root, 0)


def _mount(source: Path | None, target: Path, flags: int, *, kind: bytes | None = None) -> None:
    call("mount", None if source is None else bytes(source), bytes(target), kind, flags, None)


def _close(path: Path, flags: int) -> None:
    attributes = pack("QQQQ", _SET_READ_ONLY, 0, 0, 0)  # struct mount_attr
    syscall(_MOUNT_SETATTR, _AT_FDCWD, bytes(path), flags, attributes, len(attributes))


def _put_up(occupant: Occupant) -> str:
    """They are there before the process is: this says which."""
    room, inside = occupant.room, ids()
    own = [words for kind, words in _KINDS.items() if inside.get(kind) != room.outside.get(kind)]
    if room.shared or not own:
        raise PermissionError(None, room.shared or "this system has none")
    return f"{', '.join(own)} of its own, by {'bubblewrap' if room.wrapped else 'unshare'}"


def _get_past(_: Occupant) -> None:
    # Asked rather than tried: other layers would refuse to write there as well.
    if os.statvfs("/").f_flag & os.ST_RDONLY:
        msg = "the root directory is read-only"
        raise PermissionError(msg)


LAYER = Layer("namespaces", _put_up, _get_past)

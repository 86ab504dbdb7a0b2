"""A process confined as a job's is, in which a test may do as it likes: run by path, as a program.

    python cell.py USER NAMESPACES [LANDLOCK] < attempts.py

It stands in for the warm process, without torch: it forks once, confines the fork and runs there what standard input
says. LANDLOCK is the newest version of it that there is to be. Each function that is named `try_…` is an attempt, which
raises OSError where it is refused. It prints as JSON which layers hold, and how each attempt ended: null, or what
refused it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.settings import Settings
from worker.sandbox import Occupant, confine, landlock, namespaces, user
from worker.sandbox.kernel import call
from worker.sandbox.room import furnish

if TYPE_CHECKING:
    from worker.sandbox import Room

NEW_MOUNTS, BIND, RECURSIVE, PRIVATE = 0x20000, 4096, 16384, 1 << 18  # linux/sched.h, linux/mount.h
LACKING = 3  # the exit status where the host has not what is to be tried
DUMPABLE = 4  # linux/prctl.h
IPC_RMID = 0
ORDINARY = 12345  # a user that no account has, as whom root plays an ordinary worker


def settings() -> Settings:
    """A job may have 512 MiB, and files of 1 GiB."""
    return Settings(
        database_url="postgresql://",
        redis_url="redis://",
        job_memory_bytes=2**29,
        max_upload_bytes=2**30,
        job_threads=1,
    )


def open_the_way(home: Path) -> None:
    """Be on a host where every user can reach Python, which on this one may lie in root's own home."""
    wanted = [path for path in furnish(home, settings(), slot=0).readable if not path.is_relative_to("/dev")]
    closed = {above for path in wanted for above in path.parents if not above.stat().st_mode & 0o001}
    call("unshare", NEW_MOUNTS)
    mount(None, Path("/"), RECURSIVE | PRIVATE)
    for directory in sorted(closed):
        inside = {path: os.open(path, os.O_PATH) for path in wanted if path.is_relative_to(directory)}
        mount(None, directory, 0, kind=b"tmpfs")
        for path, descriptor in inside.items():
            path.mkdir(parents=True) if Path(f"/proc/self/fd/{descriptor}").is_dir() else path.touch()
            mount(Path(f"/proc/self/fd/{descriptor}"), path, BIND | RECURSIVE)


def mount(source: Path | None, target: Path, flags: int, *, kind: bytes | None = None) -> None:
    call("mount", None if source is None else bytes(source), bytes(target), kind, flags, b"mode=755" if kind else None)


def become_ordinary() -> None:
    """Be a user who is not root."""
    os.setgroups([])
    os.setresgid(ORDINARY, ORDINARY, ORDINARY)
    os.setresuid(ORDINARY, ORDINARY, ORDINARY)
    call("prctl", DUMPABLE, 1, 0, 0, 0)  # as after the start of a program, which a worker's warm process is


def furnished(kind: str) -> Room:
    """A room, with or without namespaces of its own."""
    home = Path(tempfile.mkdtemp(prefix="octet-cell-"))
    room = furnish(home, settings(), slot=0)
    room.readable.append(Path(tempfile.mkdtemp(prefix="octet-code-"), "code"))  # a worker may own what it is made of
    room.readable[-1].write_text("code", encoding="utf-8")
    room.readable[-1].parent.chmod(0o755)
    if kind == "unshare":
        try:
            namespaces.enter(room)
        except OSError as error:
            print(f"this user may make no namespaces here: {error}", file=sys.stderr)  # noqa: T201 - that is the answer
            sys.exit(LACKING)
    return user.settled(room)


def secrets_of_the_worker(room: Room) -> dict[str, Any]:
    """What a worker has that is nobody else's business: a file, sockets, shared memory, its environment."""
    home = room.home
    secret = home / "database-url"
    secret.write_text("postgresql://octet:PASSWORD@host/octet", encoding="utf-8")
    secret.chmod(0o600)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.set_inheritable(True)
    abstract, named = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    abstract.bind("")
    named.bind(str(home / "socket"))
    (home / "socket").chmod(0o777)
    return {
        "secret": str(secret),
        "readable": str(room.readable[-1]),
        "port": listener.getsockname()[1],
        "listener": listener,
        "socket_path": str(home / "socket"),
        "abstract_socket": abstract.getsockname(),
        "kept": named,
        "segment": call("shmget", 0, 4096, 0o1666),
    }


def attempt(attempted: Any) -> str | None:
    """How it ended."""
    try:
        attempted()
    except (OSError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def run(room: Room, code: str, answer: int) -> None:
    """Fork, confine the fork, and make the attempts in it."""
    scratch = room.home / "job"
    scratch.mkdir()
    user.give(scratch, room)
    known = secrets_of_the_worker(room)
    parent = os.getpid()
    if pid := os.fork():
        os.setpgid(pid, pid)
        os.waitpid(pid, 0)
        call("shmctl", known["segment"], IPC_RMID, None)
        return
    os.chdir(scratch)
    layers = confine(Occupant(room, scratch, parent))
    names: dict[str, Any] = {**known, "scratch": scratch, "outside": room.home}
    exec(compile(code, "attempts", "exec"), names)  # noqa: S102 - that is what it is for
    ended = {name: attempt(value) for name, value in list(names.items()) if name.startswith("try_")}
    result = {"layers": {layer.name: (layer.holds, layer.detail) for layer in layers}, "attempts": ended}
    os.write(answer, json.dumps(result).encode())
    os._exit(0)


def main(who: str, kind: str, landlocks: str = "") -> None:
    """See the top."""
    if landlocks:
        landlock.KNOWN = {version: known for version, known in landlock.KNOWN.items() if version <= int(landlocks)}
    code = sys.stdin.read()
    os.environ["OCTET_DATABASE_URL"] = "postgresql://octet:PASSWORD@host/octet"
    if os.geteuid() == 0:
        with suppress(PermissionError):  # a container that hides nothing has no need of it
            open_the_way(Path(tempfile.gettempdir()))
        if who == "ordinary":
            become_ordinary()
    run(furnished(kind), code, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])

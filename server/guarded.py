"""A server that never outlives its owner, and that its owner starts again if it dies.

Between the two stands a guard, a few lines of shell that hold the read end of a pipe: when the owner closes the pipe,
or dies in whatever way, the guard tells the server to stop.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from pwd import getpwnam
from typing import IO, TYPE_CHECKING, ClassVar, Self, TypedDict

import psutil
import structlog

from octet.errors import OctetError
from server.logs import tail

if TYPE_CHECKING:
    from collections.abc import Mapping

# The server is the guard's child, so its pid cannot come to mean another process while the guard may still signal it.
# SIGINT is Postgres's "fast" shutdown (it does not wait for clients) and an orderly one for Redis.
# Signals meant for a whole service do not end the guard: it outlives its server, always. The sockets' directory goes
# with the owner, not with the server: one that is started again must be found where it was.
_GUARD = """
sockets=$1
shift
trap '' HUP INT TERM
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ read -r _ <&3; rm -rf "$sockets"; kill -INT $server; } 2>/dev/null &
watcher=$!
wait $server
status=$?
kill -KILL $watcher 2>/dev/null
exit $status
"""
_START_SECONDS = 120.0  # after a hard kill Postgres first replays its log
_STOP_SECONDS = 60.0
_AGAIN_SECONDS = 2.0  # between two tries to start a server that died

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


class GuardedServer:
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
        self._again_at = 0.0

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
            self._launch(self._sockets)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self.url

    def tend(self) -> None:
        """Start the server again, under the same URL, if it has died; to be called often. It need not answer at once.

        Whatever keeps it from starting, a full disk perhaps, may pass: it is tried again for ever.
        """
        if self._guard is None or self._sockets is None or self._guard.poll() is None:
            return
        now = time.monotonic()
        if now < self._again_at:
            return
        self._again_at = now + _AGAIN_SECONDS
        _log.warning("a server died and is started again", server=self.name, status=self._guard.returncode)
        try:
            self._stop_leftover()
            self._launch(self._sockets)
        except (EmbeddedServerError, OSError) as error:
            _log.warning("a server could not be started again yet", server=self.name, error=str(error))

    def stop(self) -> None:
        """Stop the server in good order and wait for its end. Does nothing if it is not running."""
        if self._guard is not None:
            assert self._guard.stdin is not None  # noqa: S101 - for mypy: it was opened with a pipe
            self._guard.stdin.close()
            try:
                self._guard.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _log.warning("a server takes long to stop and is left to it", server=self.name)
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
        """End what a killed owner left behind; its guard may be at it as well."""
        pid_file = self.directory / self.pid_file
        leftover = self._processes()
        for process in leftover:
            if _pid_in(pid_file) == process.pid:  # the others are its children, and end with it
                _log.warning("stopping a server whose owner was killed", server=self.name, pid=process.pid)
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs(leftover, _STOP_SECONDS)
        if alive:
            raise EmbeddedServerError(
                f"An earlier {self.name} on {self.directory} does not stop.", hint=f"It is process {alive[0].pid}."
            )
        # Postgres takes any process of its user with this pid for itself, as happens when a container restarts.
        pid_file.unlink(missing_ok=True)

    def _processes(self) -> list[psutil.Process]:
        """The server's processes: those of its name that work in its directory."""
        found = []
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.Error, OSError):
                if process.info["name"] == self.process_name and Path(process.cwd()) == self.directory:
                    found.append(process)
        return found

    def _launch(self, sockets: Path) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
        # A session of its own: Ctrl-C in the terminal reaches the owner alone, which then stops its servers in order.
        with self.log_file.open("ab") as log:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "octet-guard", str(sockets), *self._command(sockets)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                env=clean_environment(),
                start_new_session=True,
                **as_account(self.account),
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
        return EmbeddedServerError(
            f"The embedded {self.name} did not start. The end of {self.log_file}:\n{tail(self.log_file)}"
        )


def clean_environment() -> Mapping[str, str]:
    """Neither the caller's locale nor its PG* variables or secrets are any of the servers' business."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def as_account(account: str | None) -> _Account:
    """Options of `subprocess` that run a command as another account; none for our own."""
    if account is None:
        return {}
    return {"user": account, "group": getpwnam(account).pw_gid, "extra_groups": ()}


def _pid_in(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None

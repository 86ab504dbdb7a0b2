"""`octet-server up`: the whole service in one command, on one data directory."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

import httpx
from rich.console import Console
from rich.markup import escape

from octet.errors import OctetError
from octet.wire import SandboxLayer
from server.embedded import EmbeddedPostgres, EmbeddedRedis
from server.environment import read_settings
from server.part import Part, environment
from store import keys, migrate, workers
from store.database import UNAVAILABLE, Database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from server.guarded import GuardedServer

_READY_SECONDS = 120.0
_TEND_SECONDS = 0.2
_HEARD_SECONDS = 60.0
_SERVERS: dict[str, type[GuardedServer]] = {"OCTET_DATABASE_URL": EmbeddedPostgres, "OCTET_REDIS_URL": EmbeddedRedis}
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class AddressInUseError(OctetError):
    """Somebody else listens there, or nobody can."""

    code = "address_in_use"


class NotReadyError(OctetError):
    """The parts run, but the service does not become ready."""

    code = "not_ready"


def up(data_dir: Path, *, host: str, port: int) -> None:
    """Run the service until SIGINT or SIGTERM; then stop all of it.

    Args:
        data_dir: Made if it is not there. The next start continues on it.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Raises:
        OctetError: If something does not start, or does not stay up. Nothing is left running.
    """
    for number in _STOP_SIGNALS:
        signal.signal(number, _interrupt)
    data_dir = data_dir.resolve()
    (data_dir / "logs").mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, soft_wrap=True)
    try:
        with ExitStack() as running:
            _start(running, data_dir, host, port, console)
    except KeyboardInterrupt:
        console.print("Stopped. The next start continues where this one ended.")


def _start(running: ExitStack, data_dir: Path, host: str, port: int, console: Console) -> None:
    grace_seconds = read_settings(database_url="", redis_url="").grace_seconds  # and what is wrong is said first
    port = _free_port(host, port)
    url = _url(host, port)
    console.print("Octet is starting …")
    own = {name: running.enter_context(kind(data_dir)) for name, kind in _SERVERS.items() if not os.environ.get(name)}
    urls = {name: own[name].url if name in own else os.environ[name] for name in _SERVERS}
    database_url = urls["OCTET_DATABASE_URL"]
    migrate.upgrade(database_url)
    key = _key(database_url, data_dir / "api-key")
    _write_private(data_dir / "database-url", database_url)
    running.callback((data_dir / "database-url").unlink, missing_ok=True)
    settings = environment(**urls, OCTET_HOST=host, OCTET_PORT=str(port))
    parts = [
        Part(command, environment=settings, logs=data_dir / "logs", grace_seconds=grace_seconds)
        for command in ("worker", "api")
    ]
    for part in parts:
        running.callback(part.join)
    running.callback(_stop, parts, console)
    for part in parts:
        part.start()
    tended: list[GuardedServer | Part] = [*own.values(), *parts]
    _wait_until_ready(url, tended)
    for part in parts:
        part.settle()
    _greet(console, url, key, data_dir)
    database = running.enter_context(closing(Database(database_url)))
    while not _tell_of_sandbox(console, database):  # as soon as the worker has tried it, which loads torch
        _tend(tended)
    while True:
        _tend(tended)


def _tend(tended: Sequence[GuardedServer | Part]) -> None:
    for each in tended:
        each.tend()
    time.sleep(_TEND_SECONDS)


def _interrupt(*_: object) -> None:
    for number in _STOP_SIGNALS:  # a second Ctrl-C must not cut the stopping short; `_stop` has a use for it
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _url(host: str, port: int) -> str:
    """Where to reach from this machine what listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _free_port(host: str, port: int) -> int:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # what follows says again where
        raise AddressInUseError(
            f"The service cannot listen on {host}, port {port}: {reason}.",
            hint="Choose another one with --port; 0 takes any that is free.",
        ) from None


def _key(database_url: str, path: Path) -> str | None:
    """A key that was just made; None if there was one. It is kept in `path`, where only its owner can read it."""
    with closing(Database(database_url)) as database, database.begin() as session:
        if keys.any_key(session):
            return None
        _, plaintext = keys.create(session, "octet-server up", scopes=keys.SCOPES)
        _write_private(path, plaintext)
        return plaintext


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")


def _wait_until_ready(url: str, tended: Sequence[GuardedServer | Part]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    state = "no answer"
    while time.monotonic() < deadline:
        _tend(tended)
        try:
            answer = httpx.get(f"{url}/v1/health/ready", timeout=5.0, trust_env=False)  # a proxy is not on the way
        except httpx.TransportError as error:
            state = str(error)
        else:
            if answer.is_success:
                return
            state = answer.text
    raise NotReadyError(f"The service is not ready after {_READY_SECONDS:.0f} seconds: {state}")


def _greet(console: Console, url: str, key: str | None, data_dir: Path) -> None:
    key_file = data_dir / "api-key"
    rows = {
        "Page and API": url,
        "API key": _whereabouts(key, key_file),
        "Data": str(data_dir),
        "Logs": str(data_dir / "logs"),
    }
    console.print("\n[bold green]Octet is ready.[/]")
    for name, value in rows.items():
        console.print(f"  [bold]{name:<14}[/]{escape(value)}")
    console.print("Ctrl-C stops everything.\n")


def _tell_of_sandbox(console: Console, database: Database) -> bool:
    """Say what stands between jobs and this host, if the worker has said so."""
    with suppress(*UNAVAILABLE), database.begin() as session:
        for worker, _ in workers.list_alive(session, _HEARD_SECONDS):
            if layers := [SandboxLayer.model_validate(layer) for layer in worker.sandbox]:
                holding = ", ".join(layer.name for layer in layers if layer.holds)
                console.print(f"  [bold]{'Around jobs':<14}[/]{holding or 'nothing'}")
                for layer in layers:
                    if not layer.holds:
                        console.print(f"  [bold yellow]{'Missing':<14}[/]{layer.name}: {escape(layer.detail)}")
                return True
    return False


def _whereabouts(key: str | None, key_file: Path) -> str:
    if key:
        return f"{key}  (made now; kept in {key_file})"
    return f"in {key_file}" if key_file.exists() else "made earlier; `octet-server keys create NAME` makes another"


def _stop(parts: Sequence[Part], console: Console) -> None:
    def stop(*_: object) -> None:
        for part in parts:
            part.stop()

    stop()
    for number in _STOP_SIGNALS:
        signal.signal(number, stop)
    console.print("Stopping … a second Ctrl-C does not wait for jobs that run.")

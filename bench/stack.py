"""The real service, started for a bench and stopped after it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import psutil

from octet.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack(NamedTuple):
    """A service that runs.

    Attributes:
        url: Where it is.
        key: An API key.
        data: Its data directory.
    """

    url: str
    key: str
    data: Path


@contextmanager
def running_service(**settings: str) -> Iterator[tuple[Client, str]]:
    """A `running_stack`, as a client with its key, and its URL."""
    with running_stack(**settings) as stack, Client(stack.url, stack.key) as client:
        yield client, stack.url


@contextmanager
def running_stack(**settings: str) -> Iterator[Stack]:
    """`octet-server up` on an empty data directory, ready to take jobs.

    Args:
        settings: `OCTET_*` environment variables to set; all others are taken away.
    """
    with tempfile.TemporaryDirectory(prefix="octet-bench-", ignore_cleanup_errors=True) as folder:
        data, port = Path(folder, "data"), free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OCTET_")}
        with Path(folder, "up.log").open("w", encoding="utf-8") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "server", "up", "--data-dir", str(data), "--port", str(port)],
                env=environment | settings,
                stdout=log,
                stderr=log,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, server)
            yield Stack(url, (data / "api-key").read_text(encoding="utf-8").strip(), data)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return once the service can take and run jobs; raise if it stops instead."""
    while True:
        if server.poll() is not None:
            message = f"octet-server up stopped with exit status {server.returncode}"
            raise RuntimeError(message)
        try:
            if httpx.get(f"{url}/v1/health/ready", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)


def api_process(url: str) -> psutil.Process:
    """The process that listens on the URL's port."""
    port = httpx.URL(url).port
    for process in psutil.process_iter():
        try:
            listening = any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections())
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
        if listening:
            return process
    message = f"nothing listens on port {port}"
    raise RuntimeError(message)

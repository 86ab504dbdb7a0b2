"""The app behind a real port."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
from asking import until

from server import connections
from server.part import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from store.settings import Settings


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """`app` on a free port of this machine; its URL."""
    server = connections.server(app, port=0, timeout_graceful_shutdown=1)
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    try:
        until(lambda: server.started)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def serve_in_a_process(settings: Settings, **more: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`octet-server api` on a free port; its URL, and the process."""
    urls = {"OCTET_DATABASE_URL": settings.database_url, "OCTET_REDIS_URL": settings.redis_url}
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "api"],
        env=environment(OCTET_PORT="0", **urls, **more),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    listening: list[int] = []

    def listens() -> bool:
        found = psutil.Process(process.pid).net_connections("tcp4")
        listening[:] = [each.laddr.port for each in found if each.status == psutil.CONN_LISTEN]
        return bool(listening)

    try:
        until(listens)
        yield f"http://127.0.0.1:{listening[0]}", process
    finally:
        process.terminate()
        process.wait()

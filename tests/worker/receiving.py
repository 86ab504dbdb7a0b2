"""A receiver of webhooks."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass
class Receiver:
    """What it has got, and what it does next.

    Attributes:
        answers: Status and headers of each further answer; 204 where there are none.
        before_answering: Called when a message has been read.
    """

    port: int
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    before_answering: Callable[[], object] = lambda: None
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiver(certificate: Path | None = None, *, asks_for_one: bool = False) -> Iterator[Receiver]:
    """One on a free port of this machine; with a certificate it speaks TLS, and may ask the sender for one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            receiver.before_answering()
            status, headers = receiver.answers.pop(0) if receiver.answers else (204, {})
            with suppress(OSError):  # the sender may have gone
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A handshake that failed is what some tests want."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        context.verify_mode = ssl.CERT_REQUIRED if asks_for_one else ssl.CERT_NONE
        server.socket = context.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def one_byte_at_a_time() -> Iterator[int]:
    """A receiver that never stops to answer; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not stopped.wait(0.02):
                    connection.sendall(b"x")

    stopped = threading.Event()
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopped.set()
        listener.close()
        thread.join()


def make_certificate(path: Path, name: str) -> Path:
    """A certificate of `name` that vouches for itself, with its key in the same file."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]
    about = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "1"]
    made = path.with_suffix(".crt")
    subprocess.run(["openssl", "req", "-x509", *key, *about, "-out", made], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + made.read_bytes())
    return path

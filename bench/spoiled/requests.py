"""How a body is sent: in ways that are right, and in ways that break the protocol. One row for each."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from spoiled.bodies import Kind

PATIENCE = 30.0
"""Seconds without a byte of an answer after which a request counts as hung."""
GOOD_NAMES = ("model.pt2", "a" * 150, "../../etc/passwd")  # labels, never paths
NAMES = (
    *GOOD_NAMES, "", "a" * 100_000, "a\x00b", "é" * 90, "\u202egnp.2tp", "a\r\nX: y", '"; rm -rf /; "',
)  # fmt: skip
TYPES = (
    "application/octet-stream", "", "text/html", "application/json", "multipart/form-data", "a" * 5000, "image/png; q=",
    "multipart/form-data; boundary=", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x", "é/é",
)  # fmt: skip


class Outcome(NamedTuple):
    """What a request came to.

    Attributes:
        status: Of the answer; 0: the connection was closed without one; -1: nothing came in `PATIENCE`.
        id: What the upload became, where it was accepted.
    """

    status: int
    id: str | None = None


class Service(NamedTuple):
    """Where to send to, and the key."""

    url: str
    key: str

    def client(self) -> httpx.Client:
        """A caller."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=f"{self.url}/v1/", headers=headers, timeout=PATIENCE, trust_env=False)

    def post(
        self,
        kind: Kind,
        body: bytes,
        headers: dict[str, str],
        query: dict[str, str] | None = None,
        *,
        cut: bool = False,
    ) -> Outcome:
        """The body in one piece, with headers as they are given."""
        length = {"Content-Length": str(len(body))} if "Transfer-Encoding" not in headers else {}
        address = f"/v1/{kind}s" + (f"?{urlencode(query)}" if query else "")
        return self.exchange("POST", address, length | headers, body, cut=cut)

    def exchange(self, method: str, address: str, headers: dict[str, str], body: bytes, *, cut: bool) -> Outcome:
        """A request byte by byte as it is given; the sending side is closed after it where it is `cut`."""
        host = urlsplit(self.url)
        lines = [f"{method} {address} HTTP/1.1", f"Host: {host.netloc}", f"Authorization: Bearer {self.key}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8", "surrogateescape")
        with socket.create_connection((host.hostname, host.port), timeout=PATIENCE) as connection:
            with contextlib.suppress(OSError):  # it may refuse, and be gone, before it has read all
                connection.sendall(head + body)
                if cut:
                    connection.shutdown(socket.SHUT_WR)
            return _read(connection)


def _read(connection: socket.socket) -> Outcome:
    """What comes back until the connection ends."""
    answer = b""
    try:
        while block := connection.recv(65536):
            answer += block
    except TimeoutError:
        return Outcome(-1)
    except ConnectionError:
        pass
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        return Outcome(0)
    status = int(head.split(b" ", 2)[1])
    return Outcome(status, json.loads(body)["id"] if status in {200, 201} else None)


def _plain(service: Service, kind: Kind, body: bytes, random: Random) -> Outcome:
    query = random.choice(({}, {"name": random.choice(NAMES)}, {"expires_at": "soon"}, {"x": "\x00"}))
    return service.post(kind, body, {"Content-Type": random.choice(TYPES)}, query)


def _form(service: Service, kind: Kind, body: bytes, random: Random) -> Outcome:
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    return service.post(kind, _multipart(body, random.choice(GOOD_NAMES)), headers)


def _broken_form(service: Service, kind: Kind, body: bytes, random: Random) -> Outcome:
    whole = _multipart(body, random.choice(NAMES))
    form = random.choice(
        (
            whole[: random.randrange(len(whole))],
            whole.replace(b'name="file"', b'name="other"'),
            whole.replace(b'name="file"', b""),
            whole.replace(b"\r\n\r\n", b"\r\n", 1),
            whole.replace(b"\r\n", b"\n"),
            whole.replace(b"Content-Disposition", b"X" * 70_000),
            whole.replace(b"Content-Type", b"\x00\xff"),
            whole.replace(_BOUNDARY.encode(), b"another"),
            b"--" + _BOUNDARY.encode() + b"--\r\n",
            whole * 3,
            random.randbytes(2000),
        )
    )
    boundary = random.choice((_BOUNDARY, _BOUNDARY, "", "a" * 300, '"', "\x0b"))
    return service.post(kind, form, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def _lying_length(service: Service, kind: Kind, body: bytes, random: Random) -> Outcome:
    """Less or more than is sent, or no number."""
    size = len(body)
    length = random.choice(
        (size + 1, 2 * size + 10, size // 2, 0, -1, 2**40, 2**70, "many", "", f"{size}, {size + 1}", "0x10")
    )
    return service.post(kind, body, {"Content-Length": str(length)}, cut=True)


def _broken_chunks(service: Service, kind: Kind, body: bytes, random: Random) -> Outcome:
    """A body of chunks whose sizes lie, or that ends too early."""
    size = f"{len(body):x}".encode()
    chunks = random.choice(
        (
            size + b"\r\n" + body + b"\r\n",
            size + b"\r\n" + body[: len(body) // 2],
            b"xyz\r\n" + body + b"\r\n0\r\n\r\n",
            b"-5\r\n" + body + b"\r\n0\r\n\r\n",
            b"f" * 40 + b"\r\n" + body,
            size + b";" + b"a" * 70_000 + b"\r\n" + body + b"\r\n0\r\n\r\n",
            b"",
        )
    )
    both = random.choice(({}, {"Content-Length": str(len(body))}))
    coding = random.choice(("chunked", "chunked", "gzip"))
    return service.post(kind, chunks, {"Transfer-Encoding": coding, **both}, cut=True)


def _in_parts(service: Service, kind: Kind, body: bytes, random: Random) -> Outcome:
    """By tus, as it should be: only the file is none."""
    with service.client() as client:
        created = _begin(client, kind, len(body), random.choice(GOOD_NAMES))
        if created.status_code != httpx.codes.CREATED:
            return Outcome(created.status_code)
        answer, middle = created, random.randrange(len(body) + 1)
        for start, part in ((0, body[:middle]), (middle, body[middle:])):
            answer = client.patch(_address(created), content=part, headers=_PART | {"Upload-Offset": str(start)})
            if answer.is_error:
                break
        became = answer.headers.get("Location", "").rpartition("/")[2]
        return Outcome(answer.status_code, became or None)


def _broken_parts(service: Service, kind: Kind, body: bytes, random: Random) -> Outcome:
    """By tus, with lengths, offsets, digests and metadata that are wrong."""
    lie = random.choice((None, -1, 2**70, "many", ""))
    with service.client() as client:
        created = _begin(
            client, kind if random.random() < 0.8 else "x\x00", len(body) if lie is None else lie, random.choice(NAMES)
        )  # type: ignore[arg-type]
        if created.status_code != httpx.codes.CREATED:
            return Outcome(created.status_code)
        digest = base64.b64encode(hashlib.sha256(body + b"x").digest()).decode()
        wrong = random.choice(
            (
                {"Upload-Offset": "7"},
                {"Upload-Offset": "-1"},
                {"Upload-Offset": str(2**64)},
                {"Upload-Offset": "0", "Upload-Checksum": f"sha256 {digest}"},
                {"Upload-Offset": "0", "Upload-Checksum": "md5 AAAA"},
                {"Upload-Offset": "0", "Content-Type": "text/plain"},
                {"Upload-Offset": "0", "Tus-Resumable": "0.2.2"},
                {"Upload-Offset": "0", "X-HTTP-Method-Override": "EXPLODE"},
                {},
            )
        )
        answer = client.patch(_address(created), content=body, headers=_PART | wrong)
        too_long = client.patch(_address(created), content=body + b"x", headers=_PART | {"Upload-Offset": "0"})
        if random.random() < 0.5:
            client.delete(_address(created), headers={"Tus-Resumable": "1.0.0"})
        return Outcome(max(answer.status_code, too_long.status_code))


def _begin(client: httpx.Client, kind: str, length: object, name: str) -> httpx.Response:
    values = {"kind": kind, "filename": name}
    metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items() if value)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(length), "Upload-Metadata": metadata}
    return client.post("uploads", headers=headers)


def _address(created: httpx.Response) -> str:
    return str(created.url.join(created.headers["Location"]))


_PART = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
_BOUNDARY = "----octet-bench"


def _multipart(body: bytes, name: str) -> bytes:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: a/b\r\n\r\n'
    )
    return head.encode("utf-8", "surrogateescape") + body + f"\r\n--{_BOUNDARY}--\r\n".encode()


WAYS: dict[str, Callable[[Service, Kind, bytes, Random], Outcome]] = {
    "plain body": _plain,
    "form": _form,
    "broken form": _broken_form,
    "lying length": _lying_length,
    "broken chunks": _broken_chunks,
    "in parts (tus)": _in_parts,
    "broken parts (tus)": _broken_parts,
}
"""Name -> sends a body as one kind of upload."""

"""What the client makes of answers that the service does not give, or gives while something of it is away."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID, uuid4

import pytest
from pydantic import TypeAdapter

from octet.client import Client, ServiceError, ServiceUnreachableError, UnexpectedAnswerError
from octet.client.upload import FileBody, UnreadableFileError
from octet.errors import OctetError
from octet.recipe import Recipe
from octet.wire import Artifact, Event, Job, KeyInfo, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = "2026-01-01T00:00:00Z"
JOB = UUID("00000000-0000-4000-8000-000000000002")
CONTENT = os.urandom(300_000)


class Answer(NamedTuple):
    """What comes to a request; the last one of a list comes to all that follow."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - never written to
    cut: bool = False  # the connection ends before the body does


class Gateway(ThreadingHTTPServer):
    """Something at the service's address that answers as it is told."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.meeting: threading.Barrier | None = None

    def handle_error(self, *_: object) -> None:
        """The client may hang up when it likes."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def _go(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.requests.append(self.command)
        if self.server.meeting is not None:
            self.server.meeting.wait()
        answers = self.server.answers[self.path.rpartition("/")[2].partition("?")[0]]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body) + answer.cut), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = self.close_connection or answer.cut

    do_GET = do_POST = do_DELETE = _go  # noqa: N815 - names of http.server

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    with Client(gateway.url, "key", timeout=5) as client:
        yield client


def _refusal(status: int, code: str, seconds: float | None = None) -> Answer:
    problem = Problem(type=f"urn:octet:error:{code}", title="t", status=status, detail="d").model_dump_json()
    return Answer(status, problem.encode(), {} if seconds is None else {"Retry-After": str(seconds)})


def _job(state: str) -> Answer:
    ids = {"id": JOB, "model": JOB, "calibration": None, "evaluation": None}
    job = Job.model_validate({**ids, "name": None, "state": state, "recipe": {}, "queued_at": NOW})
    return Answer(200, job.model_dump_json().encode(), {"ETag": f'"{state}"'})


def _key_info() -> Answer:
    info = KeyInfo(id=uuid4(), name="late", owner="o", scopes=["read"], stored_bytes=0, unfinished_jobs=0)
    return Answer(200, info.model_dump_json().encode())


AWAY = _refusal(503, "unavailable", 1)
LOGIN = Answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
MOVED = Answer(301, b"", {"Location": "https://elsewhere.invalid/"})


@pytest.mark.parametrize("refusal", [AWAY, _refusal(429, "rate_limited", 1)])
def test_a_pause_that_the_service_asks_for_is_made(gateway: Gateway, client: Client, refusal: Answer) -> None:
    gateway.answers = {"key": [refusal, _key_info()], str(JOB): [refusal, Answer(204)]}
    assert client.key_info().name == "late"
    client.delete_job(JOB)
    assert gateway.requests == ["GET", "GET", "DELETE", "DELETE"]


def test_a_refusal_that_asks_for_no_pause_is_final(gateway: Gateway, client: Client) -> None:
    gateway.answers = {"key": [_refusal(500, "internal_error")]}
    with pytest.raises(ServiceError):
        client.key_info()
    assert gateway.requests == ["GET"]


def test_waiting_outlives_a_database_that_is_away(gateway: Gateway, client: Client) -> None:
    gateway.answers = {str(JOB): [AWAY, _job("queued"), AWAY, AWAY, _job("succeeded")]}
    assert client.job(JOB).wait().state == "succeeded"


def test_waiting_ends_in_time_though_the_database_is_away(gateway: Gateway, client: Client) -> None:
    gateway.answers = {str(JOB): [_job("queued"), _refusal(503, "unavailable", 2)]}
    with pytest.raises(OctetError, match=r"has not finished within 0\.1 s"):
        client.job(JOB).wait(timeout=0.1)
    assert gateway.requests == ["GET", "GET"]


def _event(number: int) -> bytes:
    event = Event.model_validate({"id": number, "at": NOW, "kind": "state", "state": "queued"})
    return f"id: {number}\ndata: {event.model_dump_json()}\n\n".encode()


def test_events_go_on_though_connections_end_and_the_database_is_away(gateway: Gateway) -> None:
    stream = {"Content-Type": "text/event-stream"}
    idle, cut = Answer(200, b"", stream), Answer(200, b": alive\n\n", stream, cut=True)
    first, last = (Answer(200, _event(number), stream) for number in (1, 2))
    gateway.answers = {
        "events": [first, AWAY, idle, cut, cut, last],
        str(JOB): [*[_job("queued")] * 3, _job("succeeded")],
    }
    # All connections that gave nothing are longer than the patience, but none of them is.
    with Client(gateway.url, "key", timeout=5, patience=1.5) as client:
        assert [event.id for event in client.job(JOB).events()] == [1, 2]


def test_a_page_in_place_of_events_is_an_error(gateway: Gateway, client: Client) -> None:
    gateway.answers = {"events": [LOGIN], str(JOB): [_job("queued")]}
    with pytest.raises(UnexpectedAnswerError):
        list(client.job(JOB).events())


@pytest.mark.parametrize("answer", [LOGIN, MOVED])
def test_nothing_counts_as_deleted_unless_the_service_says_so(gateway: Gateway, client: Client, answer: Answer) -> None:
    gateway.answers = {str(JOB): [answer]}
    with pytest.raises(UnexpectedAnswerError, match=f"answered {answer.status}"):
        client.delete_model(JOB, purge=True)


@pytest.mark.parametrize("answer", [LOGIN, MOVED, Answer(404, b"<html>")])
def test_a_page_is_not_taken_for_an_answer(gateway: Gateway, client: Client, answer: Answer) -> None:
    gateway.answers = {"jobs": [answer]}
    for call in (lambda: list(client.jobs()), lambda: client.submit(JOB, Recipe(method="dynamic"))):
        with pytest.raises(UnexpectedAnswerError):
            call()


@pytest.fixture
def artifact(gateway: Gateway) -> Artifact:
    """A file of the job, which can be had."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    encoded = base64.b64encode(bytes.fromhex(digest)).decode()
    about = {"id": uuid4(), "job": JOB, "name": "model.pt", "media_type": "a/b", "created_at": NOW}
    made = Artifact.model_validate({**about, "sha256": digest, "size": len(CONTENT)})
    gateway.answers = {
        "artifacts": [Answer(200, TypeAdapter(list[Artifact]).dump_json([made]))],
        "content": [Answer(200, CONTENT, {"Repr-Digest": f"sha-256=:{encoded}:"})],
    }
    return made


def test_a_download_outlives_a_database_that_is_away(
    gateway: Gateway, client: Client, artifact: Artifact, tmp_path: Path
) -> None:
    gateway.answers["content"].insert(0, AWAY)
    (path,) = client.job(JOB).download(tmp_path)
    assert path.name == artifact.name
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("answer", [LOGIN, MOVED])
def test_a_page_takes_nothing_from_what_has_been_downloaded(
    gateway: Gateway, client: Client, artifact: Artifact, tmp_path: Path, answer: Answer
) -> None:
    part = tmp_path / f".model.pt.{artifact.sha256[:16]}.part"
    part.write_bytes(CONTENT[:200_000])
    gateway.answers["content"] = [answer]
    with pytest.raises(UnexpectedAnswerError):
        client.job(JOB).download(tmp_path)
    assert part.stat().st_size == 200_000
    assert [path.name for path in tmp_path.iterdir()] == [part.name]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(lambda path: os.truncate(path, 2**20), "became shorter"), (os.unlink, "cannot be read: No such file")],
)
def test_a_file_that_goes_away_while_it_is_sent_is_told(
    gateway: Gateway, client: Client, tmp_path: Path, change: Callable[[Path], None], sentence: str
) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(bytes(3 * 2**20))
    gateway.answers = {"models": [AWAY]}  # so that it is sent again
    with pytest.raises(UnreadableFileError, match=sentence):
        client.upload_model(path, on_progress=lambda sent, _: change(path) if sent == 2**20 and path.exists() else None)


def test_of_a_file_that_grows_what_was_announced_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(bytes(3_000_000))
    body = FileBody(path)
    path.write_bytes(bytes(5_000_000))
    assert sum(map(len, body)) == body.size == 3_000_000


def test_a_key_that_cannot_be_sent_is_not_shown() -> None:
    with pytest.raises(OctetError, match="line break") as caught:
        Client("http://127.0.0.1:1", "octet_secret\noctet_other")
    assert "secret" not in repr((caught.value, caught.value.__cause__, caught.value.__context__))


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ALL_PROXY", "socks5://127.0.0.1:9"), ("HTTPS_PROXY", "ftp://127.0.0.1"), ("SSL_CERT_FILE", "/nowhere.pem")],
)
def test_an_environment_that_allows_no_connection_is_told(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ServiceUnreachableError) as caught:
        Client("https://octet.invalid")
    assert variable in str(caught.value.hint)


def test_a_service_without_tls_is_not_said_to_be_absent(gateway: Gateway) -> None:
    with Client(gateway.url.replace("http", "https")) as client, pytest.raises(ServiceUnreachableError, match="SSL"):
        client.health()


def test_every_thread_may_wait_at_the_same_time(gateway: Gateway) -> None:
    count = 120
    gateway.meeting = threading.Barrier(count, timeout=30)  # no request is answered before all are there
    gateway.answers = {str(JOB): [_job("succeeded")]}
    ended: list[Job] = []
    with Client(gateway.url, "key", timeout=3, patience=0) as client:
        threads = [threading.Thread(target=lambda: ended.append(client.job(JOB).refresh())) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ended) == count

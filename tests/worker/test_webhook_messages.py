from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from receiving import make_certificate, one_byte_at_a_time, receiver
from sqlalchemy import func, select, update
from standardwebhooks import Webhook as Verifier
from working import QUICK, wait_until

from octet.wire import JobEnded
from server.part import environment
from store import webhooks
from store.audit import SERVICE
from store.tables import FIRST_OWNER, Webhook, WebhookDelivery
from worker.webhooks import deliver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from receiving import Receiver
    from working import Desk, WorkerProcess

    from store.database import Database
    from store.settings import Settings

OWNER = UUID(FIRST_OWNER)
EVENTS = ["job.cancelled"]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests is no receiver that does not answer."""
    for name in ("_ATTEMPT_SECONDS", "_CONNECT_SECONDS"):
        monkeypatch.setattr(f"worker.webhooks.{name}", 120.0)


@pytest.fixture
def reaching(settings: Settings) -> Settings:
    """Settings that let webhooks reach this machine."""
    return settings.model_copy(update={"webhook_networks": (ip_network("127.0.0.0/8"), ip_network("::1/128"))})


@pytest.fixture
def listening() -> Iterator[Receiver]:
    with receiver() as listening:
        yield listening


def hook(database: Database, url: str) -> Webhook:
    with database.begin() as session:
        return webhooks.create(session, SERVICE, owner_id=OWNER, url=url, events=EVENTS, idempotency_key=None)


def end_a_job(desk: Desk, model: Path) -> UUID:
    job = desk.submit(model, QUICK, hint=False)
    desk.cancel(job)
    return job


def log_of(database: Database, webhook: Webhook) -> WebhookDelivery:
    """Its only message."""
    with database.begin() as session:
        return session.scalars(select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook.id)).one()


def told(database: Database, desk: Desk, model: Path, settings: Settings, url: str) -> WebhookDelivery:
    """What became of one attempt at one message."""
    webhook = hook(database, url)
    end_a_job(desk, model)
    deliver(database, settings)
    return log_of(database, webhook)


@pytest.fixture
def tell(database: Database, desk: Desk, model: Path, reaching: Settings) -> Callable[[str], WebhookDelivery]:
    return lambda url: told(database, desk, model, reaching, url)


def test_a_message_is_signed_and_says_which_job_ended(
    database: Database, desk: Desk, model: Path, reaching: Settings, listening: Receiver
) -> None:
    webhook = hook(database, f"http://127.0.0.1:{listening.port}/hook?a=b")
    job = end_a_job(desk, model)
    deliver(database, reaching)
    [(path, headers, body)] = listening.got
    assert path == "/hook?a=b"
    assert headers["content-type"] == "application/json"
    Verifier(webhook.secret).verify(body, headers)
    message = JobEnded.model_validate_json(body)
    assert (message.type, message.data.id, message.data.state) == ("job.cancelled", job, "cancelled")
    row = log_of(database, webhook)
    assert (headers["webhook-id"], row.status, row.attempts, row.next_at) == (str(row.id), 204, 1, None)
    assert row.delivered_at is not None


def test_a_message_that_is_refused_comes_again_under_its_id_with_a_new_signature(
    database: Database, tell: Callable[[str], WebhookDelivery], reaching: Settings, listening: Receiver
) -> None:
    listening.answers = [(500, {})]
    row = tell(f"http://127.0.0.1:{listening.port}/")
    assert (row.status, row.error, row.delivered_at) == (500, "It answered 500.", None)
    with database.begin() as session:
        session.execute(update(WebhookDelivery).values(next_at=func.now()))
        secret = session.scalars(select(Webhook.secret)).one()
    deliver(database, reaching)
    first, second = ((headers["webhook-id"], body) for _, headers, body in listening.got)
    assert first == second
    Verifier(secret).verify(listening.got[1][2], listening.got[1][1])


def test_a_redirect_is_not_followed(tell: Callable[[str], WebhookDelivery], listening: Receiver) -> None:
    listening.answers = [(307, {"Location": f"http://127.0.0.1:{listening.port}/elsewhere"})]
    row = tell(f"http://127.0.0.1:{listening.port}/")
    assert (row.status, len(listening.got)) == (307, 1)
    assert row.next_at is not None


def test_a_receiver_that_says_gone_is_disabled(
    database: Database, tell: Callable[[str], WebhookDelivery], listening: Receiver
) -> None:
    listening.answers = [(410, {})]
    assert tell(f"http://127.0.0.1:{listening.port}/").next_at is None
    with database.begin() as session:
        assert session.scalars(select(Webhook.disabled_at)).one() is not None


def test_a_receiver_may_say_when_to_come_again(tell: Callable[[str], WebhookDelivery], listening: Receiver) -> None:
    listening.answers = [(503, {"Retry-After": "7200"})]
    row = tell(f"http://127.0.0.1:{listening.port}/")
    assert row.next_at - row.created_at > timedelta(seconds=7200)


def test_nothing_is_sent_to_an_address_that_has_become_private(
    database: Database, desk: Desk, model: Path, settings: Settings, listening: Receiver
) -> None:
    row = told(database, desk, model, settings, f"http://localhost:{listening.port}/")
    assert listening.got == []
    assert "public" in row.error


def test_the_connection_goes_to_the_address_that_was_checked(
    tell: Callable[[str], WebhookDelivery], listening: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["127.0.0.1", "10.0.0.1", "10.0.0.1"]

    def rebinding(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(2, 1, 6, "", (answers.pop(0), listening.port))]

    monkeypatch.setattr("socket.getaddrinfo", rebinding)
    row = tell(f"http://rebinding.example:{listening.port}/")
    assert row.status == 204
    assert len(answers) == 2
    assert listening.got[0][1]["host"] == f"rebinding.example:{listening.port}"


def test_a_name_with_an_address_that_does_not_answer_is_reached_at_another(
    tell: Callable[[str], WebhookDelivery], listening: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(2, 1, 6, "", (address, listening.port)) for address in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    assert tell(f"http://two.example:{listening.port}/").status == 204


def test_a_proxy_of_the_environment_is_not_asked(
    tell: Callable[[str], WebhookDelivery], listening: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert tell(f"http://127.0.0.1:{listening.port}/").status == 204
    assert (len(listening.got), proxy.got) == (1, [])


@pytest.mark.skipif(not shutil.which("openssl"), reason="it makes the certificates")
@pytest.mark.parametrize(
    ("name", "why"), [("localhost", None), ("octet.example", "certificate"), (None, "certificate")]
)
def test_a_certificate_must_be_trusted_and_of_the_name(
    tell: Callable[[str], WebhookDelivery],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str | None,
    why: str | None,
) -> None:
    certificate = make_certificate(tmp_path / "one.pem", name or "localhost")
    if name is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with receiver(certificate) as safe:
        row = tell(f"https://localhost:{safe.port}/")
    assert (row.status, len(safe.got)) == ((204, 1) if why is None else (None, 0))
    assert why is None or why in row.error


@pytest.mark.skipif(not shutil.which("openssl"), reason="it makes the certificates")
def test_a_receiver_that_wants_a_certificate_of_the_sender_has_failed_like_any_other(
    tell: Callable[[str], WebhookDelivery], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so once the connection stands, as TLS 1.3 has it."""
    certificate = make_certificate(tmp_path / "one.pem", "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with receiver(certificate, asks_for_one=True) as safe:
        row = tell(f"https://localhost:{safe.port}/")
    assert (row.status, row.error) == (None, "The connection broke before there was an answer.")


def test_a_receiver_that_is_not_there_is_tried_again(tell: Callable[[str], WebhookDelivery]) -> None:
    with receiver() as gone:
        pass
    row = tell(f"http://127.0.0.1:{gone.port}/")
    assert (row.status, row.error) == (None, "No connection could be made.")
    assert row.next_at is not None


def test_a_receiver_that_answers_without_end_gets_no_longer_than_others(
    tell: Callable[[str], WebhookDelivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.webhooks._ATTEMPT_SECONDS", 0.3)
    with one_byte_at_a_time() as port:
        row = tell(f"http://127.0.0.1:{port}/")
    assert row.error == "No answer within 0.3 s."


def test_a_slow_receiver_holds_up_nobody_else(
    database: Database, desk: Desk, model: Path, reaching: Settings, listening: Receiver
) -> None:
    """The slow one does not answer its first message before the other has had all of its own."""
    enough = threading.Event()
    listening.before_answering = lambda: len(listening.got) == 3 and enough.set()
    with receiver() as slow:
        slow.before_answering = lambda: enough.wait(10)
        for each in (slow, listening):
            hook(database, f"http://127.0.0.1:{each.port}/")
        for _ in range(3):
            end_a_job(desk, model)
        deliver(database, reaching)
        assert enough.is_set()
        assert (len(slow.got), len(listening.got)) == (3, 3)
    with database.begin() as session:
        assert session.scalar(select(func.count()).where(WebhookDelivery.attempts == 1)) == 6


def test_a_deliverer_that_is_killed_before_it_notes_the_arrival_sends_again_under_the_same_id(
    database: Database, desk: Desk, model: Path, reaching: Settings, listening: Receiver
) -> None:
    webhook = hook(database, f"http://127.0.0.1:{listening.port}/")
    end_a_job(desk, model)
    code = (
        "from store.database import Database; from store.settings import Settings; from worker.webhooks import deliver"
    )
    settings = {
        "OCTET_DATABASE_URL": reaching.database_url,
        "OCTET_REDIS_URL": reaching.redis_url,
        "OCTET_WEBHOOK_NETWORKS": '["127.0.0.0/8"]',
    }
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; s = Settings(); deliver(Database(s.database_url), s)"],
        env=environment(**settings),
    )
    listening.before_answering = lambda: os.kill(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    assert log_of(database, webhook).delivered_at is None
    listening.before_answering = lambda: None
    with database.begin() as session:
        session.execute(update(WebhookDelivery).values(next_at=func.now()))
    deliver(database, reaching)
    assert [headers["webhook-id"] for _, headers, _ in listening.got] == [str(log_of(database, webhook).id)] * 2
    assert log_of(database, webhook).delivered_at is not None


def test_neither_address_nor_secret_is_logged(
    tell: Callable[[str], WebhookDelivery],
    database: Database,
    listening: Receiver,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.INFO):
        tell(f"http://127.0.0.1:{listening.port}/token-in-the-path")
    with database.begin() as session:
        secret = session.scalars(select(Webhook.secret)).one()
    written = caplog.text + "".join(capsys.readouterr())
    assert "webhook answered" in written
    assert "token-in-the-path" not in written
    assert secret not in written


def test_a_worker_tells_webhooks_by_itself(
    database: Database, desk: Desk, model: Path, listening: Receiver, start_worker: Callable[..., WorkerProcess]
) -> None:
    hook(database, f"http://127.0.0.1:{listening.port}/")
    end_a_job(desk, model)
    start_worker(WEBHOOK_NETWORKS='["127.0.0.0/8"]')
    wait_until(lambda: listening.got)

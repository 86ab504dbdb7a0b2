"""The commands of `octet-server` that are over in a moment."""

from __future__ import annotations

import json
import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from server.cli import app
from store import keys, workers

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from store.database import Database
    from store.settings import Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OCTET_"):
            monkeypatch.delenv(name)


@pytest.fixture
def in_environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("OCTET_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("OCTET_REDIS_URL", settings.redis_url)


def octet_server(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.mark.usefixtures("in_environment")
def test_a_key_is_made_listed_and_revoked(database: Database) -> None:
    plaintext = octet_server("keys", "create", "ci").stdout.strip()
    with database.begin() as session:
        assert session.execute(*keys.granted(plaintext)).one().revoked is False
    listed = octet_server("keys", "list").stdout
    assert "ci" in listed
    assert plaintext not in listed
    revoked = octet_server("keys", "revoke", plaintext[:12])
    assert revoked.exit_code == 0
    with database.begin() as session:
        assert session.execute(*keys.granted(plaintext)).one().revoked is True


@pytest.mark.usefixtures("in_environment")
def test_a_key_is_made_for_an_owner_with_scopes_limits_and_an_end(database: Database) -> None:
    options = ["--owner", "team", "--scope", "read", "--scope", "admin", "--expires-in", "90d"]
    limits = ["--max-stored-bytes", "50GB", "--max-unfinished-jobs", "5", "--max-requests-per-minute", "600"]
    plaintext = octet_server("keys", "create", "ci", *options, *limits).stdout.strip()

    (entry,) = json.loads(octet_server("keys", "list", "--json").stdout)
    assert (entry["owner"], entry["scopes"], entry["max_stored_bytes"]) == ("team", ["read", "admin"], 50 * 10**9)
    assert "sha256" not in entry
    with database.begin() as session:
        found = session.execute(*keys.granted(plaintext)).one()
        assert (found.max_unfinished_jobs, found.max_requests_per_minute) == (5, 600)
        ((key, _),) = keys.list_keys(session)
        assert key.expires_at is not None
        assert key.expires_at - key.created_at == timedelta(days=90)


@pytest.mark.usefixtures("in_environment", "database")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--expires-in", "soon"),
        ("--expires-in", "-1d"),
        ("--expires-in", "0d"),
        ("--max-stored-bytes", "much"),
        ("--scope", "everything"),
    ],
)
def test_a_quantity_that_is_none_is_said(option: str, value: str) -> None:
    result = octet_server("keys", "create", "ci", f"{option}={value}")
    assert result.exit_code == 2
    assert option in result.stderr


@pytest.mark.usefixtures("in_environment", "database")
def test_the_list_shows_whole_prefixes_on_any_width_and_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name, scopes = "[/red] of a team whose name is long", ("--scope", "read", "--scope", "submit", "--scope", "admin")
    plaintext = octet_server("keys", "create", name, *scopes, "--expires-in", "90d").stdout.strip()
    octet_server("keys", "revoke", plaintext[:12])
    listed = octet_server("keys", "list")
    assert listed.exit_code == 0
    assert plaintext[:12] in listed.stdout
    assert "[/red]" in listed.stdout


@pytest.mark.usefixtures("in_environment", "database")
def test_revoking_a_key_that_is_not_there_says_so() -> None:
    result = octet_server("keys", "revoke", "octet_nothing")
    assert result.exit_code == 1
    assert "There is no valid key 'octet_nothing'." in result.stderr
    assert "hint:" in result.stderr


def test_keys_of_a_service_that_does_not_run_cannot_be_had(tmp_path: Path) -> None:
    result = octet_server("keys", "list", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert f"Nothing runs on {tmp_path}" in result.stderr


def test_keys_are_found_through_the_data_directory_of_a_running_service(
    tmp_path: Path, database: Database, settings: Settings
) -> None:
    (tmp_path / "database-url").write_text(settings.database_url + "\n")
    plaintext = octet_server("keys", "create", "me", "--data-dir", str(tmp_path)).stdout.strip()
    with database.begin() as session:
        assert session.execute(*keys.granted(plaintext)).one().revoked is False


def test_a_worker_without_settings_says_which_are_missing() -> None:
    result = octet_server("healthy")
    assert result.exit_code == 1
    assert "OCTET_DATABASE_URL" in result.stderr
    assert "OCTET_REDIS_URL" in result.stderr


@pytest.mark.usefixtures("in_environment")
@pytest.mark.parametrize("slow", ["HEARTBEAT", "RECONCILE"])
def test_a_worker_that_would_lose_its_leases_is_not_started(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTET_LEASE_SECONDS", "25")
    monkeypatch.setenv(f"OCTET_{slow}_SECONDS", "20")
    result = octet_server("worker")
    assert result.exit_code == 1
    assert f"OCTET_{slow}_SECONDS" in result.stderr
    assert "20 is more than half of OCTET_LEASE_SECONDS, 25" in result.stderr


def test_a_database_that_does_not_answer_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTET_DATABASE_URL", "postgresql://octet@127.0.0.1:1/octet")
    result = octet_server("keys", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: The database does not answer")
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("in_environment")
def test_a_host_is_healthy_while_its_worker_is_heard_of(database: Database) -> None:
    assert octet_server("healthy").exit_code == 1
    with database.begin() as session:
        workers.register(session, uuid4(), host=socket.gethostname(), pid=1, version="0", slots=1, engines=())
    assert octet_server("healthy").exit_code == 0


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none_is_wrong_usage(port: str) -> None:
    assert octet_server("up", "--port", port).exit_code == 2


@pytest.mark.usefixtures("in_environment", "database")
def test_migrating_what_is_migrated_changes_nothing() -> None:
    assert octet_server("migrate").exit_code == 0

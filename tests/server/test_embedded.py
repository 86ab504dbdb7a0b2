"""The embedded servers: they start, keep their data, belong to one owner, and end with it however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
import redis

from server.embedded import DirectoryInUseError, EmbeddedPostgres, EmbeddedRedis, EmbeddedServerError
from store.database import Database
from store.hints import Hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Server = type[EmbeddedPostgres | EmbeddedRedis]

SECONDS = 60.0  # far longer than any of this takes

# Starts a server, says so, and lives until its standard input ends.
OWNER = """
import sys
from pathlib import Path
from server.embedded import EmbeddedPostgres, EmbeddedRedis
with {server}(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    # Not pytest's: each run of pytest closes its base directory again, which Postgres must pass when we are root.
    with TemporaryDirectory(prefix="octet-tests-") as directory:
        yield Path(directory)


@pytest.fixture(params=[EmbeddedPostgres, EmbeddedRedis])
def kind(request: pytest.FixtureRequest) -> Server:
    return request.param


@pytest.fixture
def owner(kind: Server, data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, in a group of its own, that has started the server."""
    command = [sys.executable, "-c", OWNER.format(server=kind.__name__), str(data_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout is not None
        assert any("://" in line for line in iter(process.stdout.readline, ""))
        yield process
        process.kill()


def _server(kind: Server, data_dir: Path) -> psutil.Process:
    return psutil.Process(int((kind(data_dir).directory / kind.pid_file).read_text().split()[0]))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_temporary_directory_may_have_any_name(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = data_dir / "50% of é"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with EmbeddedPostgres(data_dir) as postgres, EmbeddedRedis(data_dir) as redis_server:
        with closing(Database(postgres.url)) as database:
            assert not database.is_read_only()
        with closing(Hints(redis_server.url)) as hints:
            assert hints.ping()
    assert not list(odd.iterdir())


def test_postgres_continues_where_it_ended(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    with EmbeddedPostgres(data_dir) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT value, version() FROM kept").fetchone()[0] == 42
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


def test_redis_continues_where_it_ended(data_dir: Path) -> None:
    with EmbeddedRedis(data_dir) as server, redis.Redis.from_url(server.url) as client:
        client.lpush("octet", "hint")
    with EmbeddedRedis(data_dir) as server, redis.Redis.from_url(server.url) as client:
        assert client.lrange("octet", 0, -1) == [b"hint"]
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_nobody_else_can_reach_the_server(kind: Server, data_dir: Path) -> None:
    with kind(data_dir) as server:
        sockets = [connection.laddr for connection in _server(kind, data_dir).net_connections("unix")]
        assert _server(kind, data_dir).net_connections("inet") == []
        (directory,) = {os.path.dirname(path) for path in sockets if path}  # noqa: PTH120 - a string from the kernel
        assert directory in server.url
        assert os.stat(directory).st_mode & 0o077 in {0, 0o001}  # noqa: PTH116 - likewise


def test_stopping_ends_the_server_and_frees_the_directory(kind: Server, data_dir: Path) -> None:
    server = kind(data_dir)
    server.start()
    process = _server(kind, data_dir)
    server.stop()
    server.stop()
    assert not process.is_running()
    with kind(data_dir):
        pass


def test_a_directory_has_one_owner(kind: Server, data_dir: Path, owner: subprocess.Popen[str]) -> None:
    with pytest.raises(DirectoryInUseError, match=f"in use by process {owner.pid}"):
        kind(data_dir).start()
    owner.communicate()
    with kind(data_dir):
        pass


def test_a_server_ends_when_its_owner_is_killed(kind: Server, data_dir: Path, owner: subprocess.Popen[str]) -> None:
    server = _server(kind, data_dir)
    owner.kill()
    owner.wait()
    _until(lambda: not server.is_running())


def test_a_directory_can_be_taken_over_from_a_killed_owner(
    kind: Server, data_dir: Path, owner: subprocess.Popen[str]
) -> None:
    server = _server(kind, data_dir)
    owner.kill()
    owner.wait()
    with kind(data_dir):
        assert not server.is_running()


def test_a_server_that_lost_owner_and_guard_is_replaced(
    kind: Server, data_dir: Path, owner: subprocess.Popen[str]
) -> None:
    server = _server(kind, data_dir)
    guard = server.parent()
    assert guard is not None
    children = guard.children()
    owner.send_signal(signal.SIGSTOP)  # so that it cannot stop anything in order
    for process in (guard, *(child for child in children if child != server)):
        process.kill()
    owner.kill()
    owner.wait()
    assert server.is_running()
    with kind(data_dir):
        assert not server.is_running()


def test_a_server_that_was_killed_itself_is_started_again(
    kind: Server, data_dir: Path, owner: subprocess.Popen[str]
) -> None:
    server = _server(kind, data_dir)
    server.kill()
    owner.kill()
    owner.wait()
    _until(lambda: not server.is_running())
    with kind(data_dir):
        assert _server(kind, data_dir).is_running()


def test_a_pid_file_that_means_another_process_by_now_does_no_harm(kind: Server, data_dir: Path) -> None:
    with kind(data_dir) as server:
        stale = (server.directory / kind.pid_file).read_text().split("\n")[1:]
    (server.directory / kind.pid_file).write_text("\n".join([str(os.getpid()), *stale]))
    with kind(data_dir):
        assert _server(kind, data_dir).pid != os.getpid()


def test_ctrl_c_reaches_the_owner_alone(kind: Server, data_dir: Path, owner: subprocess.Popen[str]) -> None:
    server = _server(kind, data_dir)
    assert os.getpgid(server.pid) != os.getpgid(owner.pid)
    assert os.getsid(server.pid) != os.getsid(owner.pid)


def test_a_data_directory_may_have_a_long_name(kind: Server, data_dir: Path) -> None:
    with kind(data_dir / ("long" * 40)):
        pass


def test_a_server_that_does_not_start_says_why(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        pass
    (server.directory / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedServerError, match="initialized by PostgreSQL version 12"):
        server.start()
    (server.directory / "PG_VERSION").write_text("18\n")
    with server:
        pass

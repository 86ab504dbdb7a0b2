"""The `octet-server` command: how the parts of the service are started, together or one by one."""

# Typer reads annotations at run time, so this module does not postpone them. The parts are imported by the command that
# starts them: the API does not load the worker, nor a look at the keys either of them.
# ruff: noqa: PLC0415

import gc
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from octet.errors import OctetError
from server import lifeline, logs
from server.environment import SettingsError, read_settings
from server.quantities import duration, scope_name, size
from store import keys, migrate, owners, tracing, workers
from store.database import UNAVAILABLE, Database, Session
from store.settings import Settings
from store.tables import ApiKey

DataDir = Annotated[Path, typer.Option("--data-dir", help="Where everything is kept.")]
WithParent = Annotated[bool, typer.Option("--with-parent", hidden=True)]

_DATA_DIR = Path("octet-data")
# How long a thread that reads an upload may keep the event loop from going on; by default ten times as long.
_SWITCH_SECONDS = 0.0005
_USUAL: list[str] = list(keys.USUAL)


class Commands(TyperGroup):
    """Turns an error into a line, a hint, and the exit status of the process."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that the arguments name, and end the process."""
        try:
            return super().main(*args, **kwargs)
        except OctetError as error:
            _tell(error.message, error.hint)
        except UNAVAILABLE as error:
            _tell(f"The database does not answer: {error}", None)
        except OSError as error:  # a disk that is full, a directory that nobody may write to
            _tell(str(error), None)
        sys.exit(1)


app = typer.Typer(
    name="octet-server",
    cls=Commands,
    help="Runs the Octet service. Settings are OCTET_* environment variables; docs/operations.md lists them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(name="keys", help="API keys: who may call.", no_args_is_help=True)
app.add_typer(keys_app)


@app.command()
def up(
    data_dir: DataDir = _DATA_DIR,
    host: Annotated[str, typer.Option(envvar="OCTET_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, envvar="OCTET_PORT", help="Port to listen on; 0: a free one.")
    ] = 8000,
) -> None:
    """Run the whole service: Postgres, Redis, API and worker. Ctrl-C stops it; the next start continues.

    With OCTET_DATABASE_URL or OCTET_REDIS_URL set, that server is used instead of an embedded one.
    """
    from server import stack

    logs.configure(logging.WARNING)  # the terminal is for people; the parts have logs of their own
    stack.up(data_dir, host=host, port=port)


@app.command()
def api(*, with_parent: WithParent = False) -> None:
    """Run the API alone."""
    from api.app import create_app
    from server import connections

    settings = _begin("api", with_parent)
    sys.setswitchinterval(_SWITCH_SECONDS)
    server = connections.server(create_app(settings), host=settings.host, port=settings.port)
    gc.freeze()  # what is here now stays: looking through it for garbage held every request up for 0.2 s now and then
    with suppress(KeyboardInterrupt):  # SIGINT, once more, after all has been stopped in order
        server.run()
    raise typer.Exit(0 if server.started else 1)


@app.command()
def worker(*, with_parent: WithParent = False) -> None:
    """Run a worker alone."""
    from worker import main

    raise typer.Exit(main.run(_begin("worker", with_parent)))


@app.command(name="migrate")
def migrate_() -> None:
    """Bring the database to the newest schema. Harmless when it is there already."""
    logs.configure()
    migrate.upgrade(_database_url(_DATA_DIR))


@app.command()
def healthy() -> None:
    """Say by the exit status whether a worker on this host was heard of lately."""
    settings = read_settings()
    with closing(Database(settings.database_url)) as database, database.begin() as session:
        alive = [worker for worker, _ in workers.list_alive(session, settings.lease_seconds)]
    raise typer.Exit(0 if any(worker.host == socket.gethostname() for worker in alive) else 1)


@keys_app.command()
def create(  # noqa: PLR0917 - Typer makes options of these
    name: str,
    owner: Annotated[str, typer.Option(help="Whom it acts for; made when first named.")] = owners.DEFAULT,
    scope: Annotated[
        list[str], typer.Option(parser=scope_name, help="read, submit or admin; may be repeated.")
    ] = _USUAL,
    expires_in: Annotated[timedelta | None, typer.Option(parser=duration, help="30m, 12h, 90d or 4w.")] = None,
    max_stored_bytes: Annotated[int | None, typer.Option(parser=size, help="Of its owner: 500MB, 2GiB.")] = None,
    max_unfinished_jobs: Annotated[int | None, typer.Option(min=1, help="Queued and running, of its owner.")] = None,
    max_requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Made with this key.")] = None,
    data_dir: DataDir = _DATA_DIR,
) -> None:
    """Make a key and show it, this once. What is not limited here is limited by the service's settings."""
    limits = keys.Limits(max_stored_bytes, max_unfinished_jobs, max_requests_per_minute)
    with _session(data_dir) as session:
        _, plaintext = keys.create(session, name, owner=owner, scopes=scope, expires_in=expires_in, limits=limits)
    typer.echo(plaintext)


@keys_app.command(name="list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: every column.")] = False,
    data_dir: DataDir = _DATA_DIR,
) -> None:
    """Show who has keys."""
    with _session(data_dir) as session:
        listed = keys.list_keys(session)
    if as_json:
        typer.echo(json.dumps([_entry(key, owner) for key, owner in listed], indent=2, default=str))
        return
    from octet.cli.tables import Rows, label, words

    times = (label("expires"), label("revoked"), label("made").spared, label("last used").spared)
    table = Rows(label("prefix"), words("name"), words("owner"), words("scopes"), *times)
    for key, owner in listed:
        moments = (key.expires_at, key.revoked_at, key.created_at, key.last_used_at)
        shown = (f"{at:%Y-%m-%d %H:%M}" if at else None for at in moments)
        table.add(key.prefix, key.name, owner, " ".join(key.scopes), *shown)
    Console().print(table)


@keys_app.command()
def revoke(key: Annotated[str, typer.Argument(help="Its prefix, or its id.")], data_dir: DataDir = _DATA_DIR) -> None:
    """Make a key useless, at once."""
    with _session(data_dir) as session:
        revoked = keys.revoke(session, key)
    typer.echo(f"revoked {revoked.prefix} ({revoked.name})")


def _entry(key: ApiKey, owner: str) -> dict[str, Any]:
    """A key's row, but for its hash."""
    columns = (column.key for column in key.__table__.columns if column.key != "sha256")
    return {**{name: getattr(key, name) for name in columns}, "owner": owner}


def main() -> None:
    """Run the command that the arguments of this process name."""
    app(prog_name="octet-server")


def _begin(part: str, with_parent: bool) -> Settings:
    """What every long-running part does first."""
    logs.configure()
    tracing.configure(part)
    if with_parent:
        lifeline.hold()
    return read_settings()


@contextmanager
def _session(data_dir: Path) -> Iterator[Session]:
    with closing(Database(_database_url(data_dir))) as database, database.begin() as session:
        yield session


def _database_url(data_dir: Path) -> str:
    """The database that the environment names, else the one that `up` runs on this data directory."""
    if url := os.environ.get("OCTET_DATABASE_URL"):
        return url
    try:
        return (data_dir / "database-url").read_text().strip()
    except FileNotFoundError:
        raise SettingsError(
            f"Nothing runs on {data_dir}, and OCTET_DATABASE_URL is not set.",
            hint="Start `octet-server up`, or name another --data-dir, or set OCTET_DATABASE_URL.",
        ) from None


def _tell(message: str, hint: str | None) -> None:
    typer.echo(f"error: {message}", file=sys.stderr)
    if hint:
        typer.echo(f"hint: {hint}", file=sys.stderr)
